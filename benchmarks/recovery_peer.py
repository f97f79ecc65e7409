"""torch-pruning, used as its documentation says, and brought to the same measured latency as penjing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch_pruning as tp
from equal_latency import NEAR, against, closest
from torch import Tensor, nn
from torch.nn import functional

Batch = tuple[Tensor, Tensor]

ROUNDINGS = (8, None)
"""Channels in eights, as recommended for speed; where no ratio comes near the limit so, any number."""


@dataclass(frozen=True)
class Way:
    """One way of using it.

    Attributes:
        importance: makes the criterion.
        spread: one ratio for all of the network, or the same for every layer.
        gradients: whether the criterion reads them.
    """

    importance: Callable[[], Any]
    spread: bool
    gradients: bool = False


WAYS = {
    "magnitude": Way(lambda: tp.importance.GroupMagnitudeImportance(p=2), spread=False),
    "magnitude, global": Way(lambda: tp.importance.GroupMagnitudeImportance(p=2), spread=True),
    "taylor": Way(tp.importance.GroupTaylorImportance, spread=False, gradients=True),
    "taylor, global": Way(tp.importance.GroupTaylorImportance, spread=True, gradients=True),
    "batch-norm scale, global": Way(tp.importance.BNScaleImportance, spread=True),
}


@dataclass(frozen=True)
class Fit:
    """A ratio at which a network is within a limit of latency.

    Attributes:
        way: name of the way.
        ratio: `pruning_ratio`.
        round_to: `round_to`.
        latency: measured, as a share of the original's.
    """

    way: str
    ratio: float
    round_to: int | None
    latency: float

    def record(self) -> dict[str, Any]:
        """For the results."""
        return {**asdict(self), "latency": round(self.latency, 4)}


def with_gradients(model: nn.Module, data: Sequence[Batch]) -> nn.Module:
    """A copy of `model` that carries the gradients of its loss on all of `data`."""
    model = deepcopy(model).eval()
    for images, labels in data:
        functional.cross_entropy(model(images), labels).backward()
    return model


def heads(model: nn.Module) -> dict[nn.Module, int]:
    """Of every projection that a block with `heads` splits into as many: `num_heads`."""
    return {
        projection: int(block.heads)
        for block in model.modules()
        if hasattr(block, "heads")
        for projection in (block.query, block.key, block.value)
    }


def cut(model: nn.Module, inputs: Tensor, way: Way, ratio: float, round_to: int | None) -> nn.Module:
    """A copy of `model` without that share of its channels; it carries gradients where the way reads them."""
    gradients = [parameter.grad for parameter in model.parameters()]
    model = deepcopy(model).eval()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    tp.pruner.BasePruner(
        model,
        inputs,
        importance=way.importance(),
        global_pruning=way.spread,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        ignored_layers=[classifier],
        num_heads=heads(model),
        round_to=round_to,
    ).step()
    model.zero_grad(set_to_none=True)
    return model


def fit(model: nn.Module, inputs: Tensor, name: str, limit: float) -> Fit | None:
    """The ratio that brings the network within `limit` of its latency, and at most `NEAR` below.

    Where there is none, the one that comes nearest from below; None if every network is above.

    Args:
        model: the original, with gradients where the way reads them.
        inputs: one example.
        name: of the way.
        limit: share of the original's latency.
    """
    way, best = WAYS[name], None
    with against(model, inputs) as measure:
        for round_to in ROUNDINGS:

            def part(kept: float, round_to: int | None = round_to) -> nn.Module:
                return cut(model, inputs, way, 1 - kept, round_to)

            found = closest(part, measure, limit)
            if found and (best is None or found[1] > best.latency):
                best = Fit(name, 1 - found[0], round_to, found[1])
            if best and best.latency >= limit * (1 - NEAR):
                break
    return best
