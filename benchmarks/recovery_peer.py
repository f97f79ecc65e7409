"""torch-pruning, used as its documentation says, and brought to the same measured latency as penjing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional

from penjing.devices import Cpu, to_onnx
from penjing.network import Call

Batch = tuple[Tensor, Tensor]

NEAR = 0.05
"""How far below the limit a latency may be and still use it."""

MOST = 8
"""How many ratios are measured for one importance and rounding."""

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
    way, call, best = WAYS[name], Call.of(model, inputs), None
    with TemporaryDirectory() as scratch:
        whole, part = Path(scratch) / "whole.onnx", Path(scratch) / "part.onnx"
        to_onnx(model, call, whole)
        for round_to in ROUNDINGS:
            known: dict[tuple[Any, ...], float] = {}
            low, high = 0.0, 1.0
            for _ in range(MOST):
                ratio = (low + high) / 2
                model_now = cut(model, inputs, way, ratio, round_to)
                shapes = tuple(tuple(tensor.shape) for tensor in model_now.parameters())
                if shapes not in known:
                    to_onnx(model_now, call, part)
                    before, after = Cpu().compare(whole, part, call=call)
                    known[shapes] = after.latency_ms / before.latency_ms
                latency = known[shapes]
                if latency <= limit and (best is None or latency > best.latency):
                    best = Fit(name, ratio, round_to, latency)
                if best and best.latency >= limit * (1 - NEAR):
                    return best
                low, high = (low, ratio) if latency <= limit else (ratio, high)
    return best
