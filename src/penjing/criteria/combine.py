"""The two explicit choices behind a score: over the tied slices of a unit, and across axes.

Over slices (`Aggregate`). One unit has a slice in every tensor that carries its axis: the filter that makes
it, its normalisation's scale and shift, the weights that read it. `sum` is the default: what is removed
together is worth what its parts are worth together; for `taylor` that is the first-order change of the
loss, for `magnitude` the norm of all removed weights. `mean` does not favour axes with many slices (a
residual stream is carried by dozens). `max` keeps a unit for its one most valuable slice.

Across axes (`Normalise`). A budget trades units of one axis against units of another, so their scores must
mean the same. `taylor` is in units of the loss on every axis and is left as it is (`none`): its authors
find that it scales consistently across layers, skip connections included (Molchanov et al. 2019,
arXiv:1906.10771). A norm is not comparable: it grows with the fan-in and with the scale that initialisation
and normalisation leave on a layer; compared raw, whole layers go first. `mean`, its default, asks how much
a unit is worth beside an average one of its axis. `l2` is the per-layer normalisation of Molchanov et al.
2017, arXiv:1611.06440; `rank` keeps only the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

Aggregate = Literal["sum", "mean", "max"]
"""How the slices of a unit are put together."""

Normalise = Literal["none", "mean", "l2", "rank"]
"""How the units of an axis are made comparable to those of others."""


def aggregated(slices: Sequence[tuple[Tensor, Tensor]], size: int, *, how: Aggregate) -> Tensor:
    """One figure for each unit from the slices of all members that carry it.

    Args:
        slices: per member: worth of each index along its dimension, float64 [n], and the unit of each,
            int64 [n], -1 for none.
        size: number of units.
        how: `sum` over members; `mean` over those members that have a slice of the unit; `max` likewise.

    Returns:
        float64 [size]; 0 for a unit without any slice. Several indices of one member that belong to one
        unit are one slice: they are summed.
    """
    total = torch.zeros(size, dtype=torch.float64)
    carried = torch.zeros(size, dtype=torch.float64)
    for worth, units in slices:
        held = units >= 0
        mine = torch.zeros(size, dtype=torch.float64).index_add_(0, units[held], worth[held])
        here = torch.zeros(size, dtype=torch.bool).index_fill_(0, units[held], True)
        if how == "max":
            total = torch.where(
                here & (carried > 0), torch.maximum(total, mine), torch.where(here, mine, total)
            )
        else:
            total += mine
        carried += here
    return total / carried.clamp(min=1) if how == "mean" else total


def _none(scores: Tensor) -> Tensor:
    return scores


def _mean(scores: Tensor) -> Tensor:
    return _divided(scores, float(scores.abs().mean()))


def _l2(scores: Tensor) -> Tensor:
    return _divided(scores, float(scores.square().sum().sqrt()))


def _rank(scores: Tensor) -> Tensor:
    """Rank over size, in (0, 1]; equal scores share the mean of their ranks."""
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = (count.cumsum(0) - (count - 1) / 2).double() / len(scores)
    return ranks[place]


def _divided(scores: Tensor, by: float) -> Tensor:
    """Scores of an axis that are all zero stay zero."""
    return scores / by if by > 0 else scores


NORMALISATIONS: Mapping[Normalise, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"none": _none, "mean": _mean, "l2": _l2, "rank": _rank}
)
"""Each takes and gives the scores of one axis, float64 [size]."""
