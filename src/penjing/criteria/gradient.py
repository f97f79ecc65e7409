"""Gradient: weights that the loss does not react to do little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.statistics import Statistics


def gradient(gradient_abs: Tensor, *, batches: int) -> Tensor:
    """|dL/dw| of every element, averaged over batches.

    Args:
        gradient_abs: sum over batches of |dL/dw|, any shape, float64.
        batches: how many were summed, > 0; each counts alike, whatever its size.

    Returns:
        Non-negative, float64; larger means keep. In units of the loss for a unit of weight: comparable
        inside one axis only, since weights of different layers are of different scales.

    Raises:
        ValueError: batches < 1.

    Source: the sensitivity of Mozer and Smolensky 1989 (NeurIPS 1, skeletonization) without the gate: the
    baseline called gradient magnitude in Blalock et al. 2020, arXiv:2003.03033, section 7.2. That page
    multiplies with the weight; `taylor` does so here, and this is the gradient alone. Absolute values are
    taken batch by batch, as `taylor` does and for its reason.
    """
    if batches < 1:
        raise ValueError(f"averaged over {batches} batches")
    return gradient_abs / batches


@final
@dataclass(frozen=True)
class Gradient(WeightCriterion):
    """|dL/dw| summed over all weights of a unit, averaged over calibration batches."""

    record: ClassVar[Record] = Record(
        name="gradient",
        summary="how steep the loss is: sum(|dL/dw|), averaged over batches",
        scores="weights",
        needs=frozenset({"gradients"}),
        normalise="mean",
        source="Mozer and Smolensky 1989, NeurIPS 1; Blalock et al. 2020, arXiv:2003.03033",
        cost="one backward a batch",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """The mean over batches of |dL/dw|."""
        return gradient(statistics.gradients[name], batches=statistics.batches)
