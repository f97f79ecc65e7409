"""Squared Taylor: how far the loss would move if all weights of a unit were set to zero together, squared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.statistics import Statistics
from penjing.network import Axis


def taylor_squared(products_squared: Tensor, *, batches: int) -> Tensor:
    """The mean over batches of (sum over all weights of a unit of w * dL/dw)^2.

    Terms of both signs cancel inside a unit, as they do in the loss when all of it goes, and nothing cancels
    between batches. `taylor` is the other way about: it bounds the change, this estimates it.

    Args:
        products_squared: for each unit the sum over batches of the squared sum, float64 [size].
        batches: how many were summed, > 0; each counts alike, whatever its size.

    Returns:
        Non-negative, float64 [size]; larger means keep. In squared units of the loss: comparable across all
        axes of one network.

    Raises:
        ValueError: batches < 1.

    Source: Molchanov et al. 2019, arXiv:1906.10771, section 3.1, the squared first-order criterion of a set
    of parameters as a group. Their set is one filter, or the gate behind it; here it is all that is removed
    together, the weights that read the unit too. The other sum of theirs, of squares of single weights, is
    twice `fisher`.
    """
    if batches < 1:
        raise ValueError(f"averaged over {batches} batches")
    return products_squared / batches


@final
@dataclass(frozen=True)
class TaylorSquared(UnitCriterion):
    """(sum over a unit of w * dL/dw)^2, averaged over calibration batches."""

    record: ClassVar[Record] = Record(
        name="taylor_squared",
        summary="squared first-order change of the loss: sum(w * dL/dw)**2, averaged over batches",
        scores="units",
        needs=frozenset({"squared_products"}),
        normalise="none",
        source="Molchanov et al. 2019, arXiv:1906.10771",
        cost="one backward a batch",
    )

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """The mean over batches of the squared sum."""
        return taylor_squared(statistics.squared_products[axis.name], batches=statistics.batches)
