"""Fisher: the second-order change of the loss, with squared gradients in the place of curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.statistics import Statistics


def fisher(weight: Tensor, gradient_squared: Tensor, *, batches: int) -> Tensor:
    """w^2 / 2 * mean over batches of (dL/dw)^2 of every element.

    The mean is the diagonal of the empirical Fisher matrix, which near a minimum of a likelihood stands in
    for the Hessian. It is that of batches as they are given: a batch's gradient is the mean over its samples,
    in which they cancel, so that larger batches have smaller figures. Batches of one sample give the Fisher
    information of samples.

    Args:
        weight: any shape, any floating type.
        gradient_squared: sum over batches of (dL/dw)^2, shaped as `weight`, float64.
        batches: how many were summed, > 0; each counts alike, whatever its size.

    Returns:
        Non-negative, float64, shaped as `weight`; larger means keep. In units of the loss where that is a
        negative log-likelihood, and so comparable across all axes.

    Raises:
        ValueError: batches < 1.

    Source: Theis et al. 2018, arXiv:1801.05787, section 2.2; the diagonal of Singh and Alistarh 2020
    (WoodFisher), arXiv:2004.14340, section 3. Theis et al. square the sum over a feature map, which is
    `taylor_squared` by half; here each weight is squared by itself, and a unit's are added. Twice this is the
    sum of squares of single weights in Molchanov et al. 2019, arXiv:1906.10771, section 3.1.
    """
    if batches < 1:
        raise ValueError(f"averaged over {batches} batches")
    return weight.detach().abs().to(torch.float64).square_().mul_(gradient_squared).div_(2 * batches)


@final
@dataclass(frozen=True)
class Fisher(WeightCriterion):
    """w^2 times half the diagonal of the empirical Fisher matrix, summed over all weights of a unit."""

    record: ClassVar[Record] = Record(
        name="fisher",
        summary="second-order change of the loss: sum(w**2 / 2 * (dL/dw)**2), averaged over batches",
        scores="weights",
        needs=frozenset({"squared_gradients"}),
        normalise="none",
        source="Theis et al. 2018, arXiv:1801.05787; Singh and Alistarh 2020, arXiv:2004.14340",
        cost="one backward a batch",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """w^2 / 2 * mean over batches of (dL/dw)^2."""
        return fisher(weight, statistics.squared_gradients[name], batches=statistics.batches)
