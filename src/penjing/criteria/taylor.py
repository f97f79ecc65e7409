"""First-order Taylor: how far the loss would move if a weight were set to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.statistics import Statistics


def taylor(weight: Tensor, gradient_abs: Tensor, *, batches: int) -> Tensor:
    """|w * dL/dw| of every element, averaged over batches.

    The absolute value is taken before batches are averaged and before slices are summed. Near a minimum of
    the loss the gradients of single batches are large and cancel in their mean, so |w * mean(dL/dw)| would
    rank noise; and inside a unit terms of both signs cancel, though removing the unit removes them all.

    Args:
        weight: any shape, any floating type.
        gradient_abs: sum over batches of |dL/dw|, shaped as `weight`, float64.
        batches: how many were summed, > 0; each counts alike, whatever its size.

    Returns:
        Non-negative, float64, shaped as `weight`; larger means keep. In units of the loss, so comparable
        across all axes of one network.

    Raises:
        ValueError: batches < 1.

    Source: Molchanov et al. 2019, arXiv:1906.10771, the first-order criterion. They square the sum of w *
    dL/dw over a filter, batch by batch; we take the absolute value of every term, as Molchanov et al. 2017,
    arXiv:1611.06440, do with activations: the sum over all slices of a unit is then an upper bound of the
    first-order change of the loss.
    """
    if batches < 1:
        raise ValueError(f"averaged over {batches} batches")
    return weight.detach().abs().to(torch.float64) * gradient_abs / batches


@final
@dataclass(frozen=True)
class Taylor(WeightCriterion):
    """|w * dL/dw| summed over all weights of a unit, averaged over calibration batches."""

    record: ClassVar[Record] = Record(
        name="taylor",
        summary="first-order change of the loss: sum(|w * dL/dw|), averaged over batches",
        scores="weights",
        needs=frozenset({"gradients"}),
        normalise="none",
        source="Molchanov et al. 2019, arXiv:1906.10771; Molchanov et al. 2017, arXiv:1611.06440",
        cost="one backward a batch",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """|w| * mean over batches of |dL/dw|."""
        return taylor(weight, statistics.gradients[name], batches=statistics.batches)
