"""SparseGPT over a network: layer after layer, each on what the sparse layers before it give."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from penjing.compress.masks.masks import Masks
from penjing.compress.masks.nm import NM
from penjing.compress.masks.obs import DAMPING, Goal, sparsegpt
from penjing.compress.masks.pattern import Pattern, Unstructured
from penjing.compress.masks.rule import Layer, Rule
from penjing.compress.masks.wanda import second_moments
from penjing.criteria.grams import Grams
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.projection import Projection, projections
from penjing.network.solve import tensor_named


@dataclass(frozen=True)
class SparseGPT:
    """The options of SparseGPT; takes the place of a criterion.

    Attributes:
        damping: added to the diagonal of a layer's moments, as a share of its mean.

    Source: Frantar & Alistarh 2023, arXiv:2301.00774.
    """

    damping: float = DAMPING
    name: ClassVar[str] = "sparsegpt"


def goals(
    shapes: Mapping[str, Sequence[int]], net: Network, pattern: Pattern, rule: Rule | None
) -> tuple[dict[str, Goal], dict[str, str]]:
    """How many weights of each matrix go, and why others stay whole.

    Args:
        shapes: of the weights, in the order in which they are run.
        net: that has them.
        pattern: unstructured, or N:M along the inputs.
        rule: how many go, by the shapes alone; None for N:M.

    Raises:
        PenjingError: PJ811, another pattern; PJ812, a layer would be empty.
    """
    if not isinstance(pattern, Unstructured | NM):
        raise PenjingError(
            "PJ811",
            f"SparseGPT has no pattern {pattern.name}",
            tries=['"unstructured"', '"2:4"', 'criterion="wanda"'],
        )
    if isinstance(pattern, NM):
        owns = {own.weight: own for own in projections(net.trace).values()}
        notes = {name: why for name, shape in shapes.items() if (why := _lanes(owns[name], shape, pattern))}
        fits = [name for name in shapes if name not in notes]
        found = dict.fromkeys(fits, Goal(n=pattern.n, m=pattern.m))
        return found, {name: f"stays whole: {why}" for name, why in notes.items()}
    assert rule is not None
    layers = {name: Layer(torch.ones(tuple(shape)), tuple(shape)) for name, shape in shapes.items()}
    kept = rule.kept(layers)
    return {name: Goal(share=1 - float(one.double().mean())) for name, one in kept.items()}, {}


def _lanes(own: Projection, shape: Sequence[int], pattern: NM) -> str:
    """Why n of every m inputs cannot stay; "" where they can."""
    inputs = shape[own.into] // (
        own.groups if own.out else 1
    )  # of a transposed convolution those of all groups
    if pattern.dim % len(shape) != 1:
        return f"the pattern is along dimension {pattern.dim}, not along the inputs"
    return replace(pattern, at_end="refuse").objection((shape[own.out], inputs, *shape[2:]))


def readable(net: Network, names: Collection[str], data: Iterable[Any]) -> tuple[Grams, list[str]]:
    """Those of the weights of which it can be known what they multiply, in the order in which they are run.

    The Gram matrices of one layer at a time are held.

    Raises:
        PenjingError: as `Grams`.
    """
    grams = Grams(net, data, memory_bytes=0)
    order = dict.fromkeys(own.weight for own in projections(net.trace).values())
    return grams, [name for name in order if name in names and name in grams.names]


@torch.no_grad()
def compensate(net: Network, grams: Grams, wanted: Mapping[str, Goal], *, damping: float) -> Masks:
    """Sets weights of the network's model to zero, in place, and lets the others make up for them.

    Args:
        net: traced.
        grams: of it; nothing was asked of them yet.
        wanted: by weight, in the order in which they are run: `n:m` is along the inputs.
        damping: as `sparsegpt`.

    Returns:
        The masks.

    Raises:
        PenjingError: PJ310, PJ303, the data cannot be used.
    """
    masks: dict[str, Tensor] = {}
    for name, goal in wanted.items():
        reading = grams.of([name])[name]
        weight = tensor_named(net.model, name)
        own, moments = reading.projection, second_moments(reading)
        groups = [
            sparsegpt(matrix, moment, goal, damping=damping)
            for matrix, moment in zip(own.matrix(weight.detach().cpu()), moments.cpu(), strict=True)
        ]
        new = torch.stack([group[0] for group in groups])
        kept = torch.stack([group[1] for group in groups])
        weight.copy_(own.shaped(new, weight))
        masks[name] = own.shaped(kept.double(), torch.empty(weight.shape, dtype=torch.float64)).bool()
    return Masks(masks)
