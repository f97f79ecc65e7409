"""SNIP: the sensitivity of the loss over all data to a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.derivatives import product
from penjing.criteria.statistics import Statistics


def snip(weight: Tensor, gradient_sum: Tensor, *, total: float) -> Tensor:
    """|w * dL/dw| of every element as a share of that of all weights, where L is the loss of all batches.

    Gradients are summed with their signs before the absolute value is taken: what pulls a weight one way on
    one batch and the other way on the next does not count, which is the difference from `taylor`.

    Args:
        weight: any shape, any floating type.
        gradient_sum: sum over batches of dL/dw, shaped as `weight`, float64 (complex128 for complex weights).
        total: the sum of |w * gradient_sum| over all parameters of the network, >= 0.

    Returns:
        In [0, 1], float64, shaped as `weight`; larger means keep; zeros where `total` is 0. All weights of
        the network add up to 1: comparable across all axes.

    Raises:
        ValueError: total < 0.

    Source: Lee et al. 2019, arXiv:1810.02340, section 4, the saliency s_j; their derivative by the mask is
    w * dL/dw at a mask of ones. They ask it of one batch at initialisation; here it is asked of a trained
    network, whose gradients over all data are near zero: with few batches, chance ranks what is left.
    """
    if total < 0:
        raise ValueError(f"a share of {total}")
    size = product(weight, gradient_sum).abs()
    return size / total if total > 0 else torch.zeros_like(size)


@final
@dataclass(frozen=True)
class Snip(WeightCriterion):
    """Connection sensitivity, summed over all weights of a unit."""

    record: ClassVar[Record] = Record(
        name="snip",
        summary="connection sensitivity: sum(|w * mean dL/dw|) as a share of that of all weights",
        scores="weights",
        needs=frozenset({"signed_gradients"}),
        normalise="none",
        source="Lee et al. 2019, arXiv:1810.02340",
        cost="one backward a batch",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """|w * dL/dw| as a share."""
        return snip(weight, statistics.signed_gradients[name], total=statistics.saliency)
