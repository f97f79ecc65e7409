"""Redundancy: units that go along with another can be done without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.activations import over_places
from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.seen import Seen
from penjing.criteria.statistics import Statistics
from penjing.network import Axis

_STILL = 1e-12
"""Variance beside the mean square from which on a unit counts as one that varies."""


def correlations(sums: Tensor, products: Tensor, rows: int) -> Tensor:
    """Absolute correlation of every two units; 1 between a constant one and any other: it adds nothing.

    Args:
        sums: of each unit, float64 [size].
        products: of every two, float64 [size, size].
        rows: over how many positions, > 0.

    Returns:
        float64 [size, size], symmetric; 1 on the diagonal.
    """
    mean = sums / rows
    covariance = products / rows - torch.outer(mean, mean)
    variance = covariance.diagonal()
    lively = variance > _STILL * products.diagonal() / rows
    deviation = variance.where(lively, 1.0).sqrt()
    found = (covariance / torch.outer(deviation, deviation)).abs().clamp_max(1.0)
    found = found.where(torch.outer(lively, lively), 1.0)
    return found.fill_diagonal_(1.0)


def redundancy(correlation: Tensor) -> Tensor:
    """1 - |rho| at which each unit has to go, if of the two most alike one always goes.

    Of the two it is the one that is more like all others that are left. Taking units by their closest
    relative alone would drop both of a pair.

    Args:
        correlation: absolute, float64 [size, size].

    Returns:
        float64 [size]; larger means keep; never below that of a unit that went before.
    """
    left = correlation.clone().fill_diagonal_(-1.0)
    size = len(left)
    worth, most = torch.zeros(size, dtype=torch.float64), 0.0
    alive = torch.ones(size, dtype=torch.bool)
    for _ in range(size - 1):
        one, other = divmod(int(left.argmax()), size)
        most = max(most, 1 - float(left[one, other]))
        alike = left[[one, other]].clamp_min(0).sum(1)
        goes = one if alike[0] >= alike[1] else other
        worth[goes] = most
        alive[goes] = False
        left[goes] = left[:, goes] = -1.0
    worth[alive] = max(most, 1.0)
    return worth


@final
@dataclass(frozen=True)
class Correlation(UnitCriterion):
    """How little a unit's activations go along with those of any other unit that is still there.

    Source: correlation between the outputs of filters as in Suau, Zappella and Apostoloff 2018,
    arXiv:1807.10585, and of filters themselves as in Wang et al. 2019 (COP), arXiv:1906.10337; one of each
    pair after another goes here, so that of two that are alike one stays.
    """

    record: ClassVar[Record] = Record(
        name="correlation",
        summary="1 - |rho| with the most similar unit that is left",
        scores="units",
        needs=frozenset({"activations", "correlations"}),
        normalise="none",
        source="Suau et al. 2018, arXiv:1807.10585; Wang et al. 2019 (COP), arXiv:1906.10337",
        cost="one forward a batch",
    )

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """Between 0 and 1."""
        every = statistics.activations_of(axis.name)
        return redundancy(over_places([_of(one) for one in every]))


def _of(one: Seen) -> Tensor:
    return correlations(one.sums, one.products, max(1, one.rows))
