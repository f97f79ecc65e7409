"""LAMP: magnitude that means the same in every tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.statistics import Statistics

_SORTED: Final = 2**16
"""Up to so many weights are compared exactly; a sort of 100 million takes a core more than ten seconds."""

_DROPPED_BITS: Final = 12
"""Of the 24 significant bits of a float32: beyond `_SORTED` weights, the other 12 are compared."""

_AT_ONCE: Final = 2**16
"""Weights that are looked at together, so that intermediate results stay in the cache."""


def lamp(weight: Tensor) -> Tensor:
    """w^2 / (sum of the squares of those weights of the tensor that are not smaller).

    It is the share of a weight in what is left of its tensor, in squared error of the output in the worst
    case, once all smaller weights have gone.

    Args:
        weight: any shape, any floating type; compared as float32.

    Returns:
        In [0, 1], float64, shaped as `weight`; larger means keep. 1 for the largest weight. A tensor of zeros
        has zeros. Comparable across tensors, which is what it is made for.

    Source: Lee et al. 2021, arXiv:2010.07611, eq. 2. There, of equal weights the one that stands first in the
    sorted tensor has the larger denominator; here each of them counts the others, so that the score does not
    depend on how a sort breaks ties, and equal units are worth the same. In tensors of more than 65,536
    weights, magnitudes that agree in their first 12 bits (to 1 in 2048 or better) count as equal, too: a
    table of sums takes the place of the sort. On one core, 100 million weights in tensors of 8.4 million take
    1.3 to 1.8 s with it, summing over units included, and more than ten with a sort.
    """
    flat = weight.detach().reshape(-1)
    if flat.numel() <= _SORTED:
        squares = _squares(flat)
        levels, place = squares.unique(return_inverse=True)
        mass = torch.zeros_like(levels).index_add_(0, place, squares)
        worth = squares * _shares(mass)[place]
    else:
        mass = torch.zeros(2 ** (31 - _DROPPED_BITS), dtype=torch.float64, device=flat.device)
        for part in flat.split(_AT_ONCE):
            mass.index_add_(0, _level(part), _squares(part))
        shares, worth = _shares(mass), torch.empty(flat.shape, dtype=torch.float64, device=flat.device)
        for part, found in zip(flat.split(_AT_ONCE), worth.split(_AT_ONCE), strict=True):
            torch.mul(_squares(part), shares[_level(part)], out=found)
    return worth.reshape(weight.shape)


def _squares(part: Tensor) -> Tensor:
    return part.abs().float().double().square_()


def _level(part: Tensor) -> Tensor:
    """The first bits of a float32 that is not negative are in the order of the numbers."""
    return part.abs().float().view(torch.int32) >> _DROPPED_BITS


def _shares(mass: Tensor) -> Tensor:
    """One over the sum of what is at a level and above; 0 where that is nothing."""
    above = mass.flip(0).cumsum(0).flip(0)
    return torch.where(above == 0, 0.0, 1 / above)


@final
@dataclass(frozen=True)
class Lamp(WeightCriterion):
    """Layer-adaptive magnitude, summed over all weights of a unit."""

    record: ClassVar[Record] = Record(
        name="lamp",
        summary="sum(w**2 / sum of squares of the weights of its tensor that are not smaller)",
        scores="weights",
        needs=frozenset(),
        normalise="none",
        source="Lee et al. 2021, arXiv:2010.07611",
        cost="weights alone",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """The share of every weight in what is not smaller."""
        return lamp(weight)
