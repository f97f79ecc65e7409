"""Movement: weights that training would push towards zero may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.derivatives import product
from penjing.criteria.statistics import Statistics


def movement(weight: Tensor, gradient_sum: Tensor) -> Tensor:
    """-w * dL/dw of every element, summed over batches.

    A step of gradient descent changes w by a multiple of -dL/dw: away from zero where this is positive,
    towards zero where it is negative.

    Args:
        weight: any shape, any floating type.
        gradient_sum: sum over batches of dL/dw, shaped as `weight`, float64 (complex128 for complex weights).

    Returns:
        Of either sign, float64, shaped as `weight`; larger means keep. Grows with the number of batches.

    Source: Sanh et al. 2020, arXiv:2005.07683, section 3, without the learning rate, which changes no order.
    They sum while the weights are trained, and weights move; here they stand still: it is the first step of
    theirs, seen on all data.
    """
    return -product(weight, gradient_sum)


@final
@dataclass(frozen=True)
class Movement(WeightCriterion):
    """-w * dL/dw summed over all weights of a unit and all calibration batches.

    Normalised by rank: a sum may have either sign, and a budget adds up what it keeps. With negative worth a
    narrower axis could be worth more than a wider one.
    """

    record: ClassVar[Record] = Record(
        name="movement",
        summary="how a step of training moves weights away from zero: sum(-w * dL/dw)",
        scores="weights",
        needs=frozenset({"signed_gradients"}),
        normalise="rank",
        source="Sanh et al. 2020, arXiv:2005.07683",
        cost="one backward a batch",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """-w * dL/dw."""
        return movement(weight, statistics.signed_gradients[name])
