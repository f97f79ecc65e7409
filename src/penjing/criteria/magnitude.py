"""Magnitude: small weights do little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.statistics import Statistics
from penjing.errors import PenjingError


def magnitude(weight: Tensor, *, p: float) -> Tensor:
    """|w|**p of every element.

    The sum over all slices of a unit, to the power 1/p, is the Lp norm of everything that goes with the
    unit.

    Args:
        weight: any shape, any floating type.
        p: the norm's exponent, > 0.

    Returns:
        Non-negative, float64, shaped as `weight`; larger means keep. Comparable inside one axis only: a
        norm grows with the number and the scale of the weights in a slice.

    Source: Li et al. 2017, arXiv:1608.08710 (p = 1, over the filters of one convolution), and He et al.
    2018, arXiv:1808.06866 (p = 2). Both look at the filters alone; here all slices of the unit count, the
    weights that read it too, since all of them are removed together.
    """
    size = weight.detach().abs().to(torch.float64)
    return size if p == 1 else size.pow_(p)


@final
@dataclass(frozen=True)
class Magnitude(WeightCriterion):
    """The Lp norm of all weights of a unit.

    Attributes:
        p: 1 sums absolute values, 2 (the default) squares them.
    """

    p: float = 2
    record: ClassVar[Record] = Record(
        name="magnitude",
        summary="norm of all weights of a unit: sum(|w|**p)**(1/p)",
        scores="weights",
        needs=frozenset(),
        normalise="mean",
        source="Li et al. 2017, arXiv:1608.08710; He et al. 2018, arXiv:1808.06866",
        cost="weights alone",
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.p) and self.p > 0):
            raise PenjingError("PJ306", f"Magnitude(p={self.p}) is no norm", tries=["p=1 or p=2"])

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """|w|**p."""
        return magnitude(weight, p=self.p)

    def finish(self, total: Tensor) -> Tensor:
        """The p-th root."""
        return total.pow(1 / self.p)
