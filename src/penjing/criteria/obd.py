"""Optimal Brain Damage: the second-order change of the loss by its own curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.curvature import Curvature
from penjing.criteria.statistics import Statistics


def obd(weight: Tensor, curvature: Tensor, *, batches: int) -> Tensor:
    """w^2 / 2 * d2L/dw2 of every element, averaged over batches.

    Args:
        weight: any shape, any floating type.
        curvature: sum over batches of d2L/dw2 or of an unbiased estimate, shaped as `weight`, float64.
        batches: how many were summed, > 0; each counts alike, whatever its size.

    Returns:
        Of either sign, float64, shaped as `weight`; larger means keep. In units of the loss, so comparable
        across all axes of one network.

    Raises:
        ValueError: batches < 1.

    Source: LeCun, Denker and Solla 1989 (NeurIPS 2), section 2, the saliency h_kk u_k^2 / 2. They propagate a
    diagonal backwards and drop the second derivative of the non-linearity, which makes it positive; the
    diagonal here is that of the exact Hessian, by random probes.
    """
    if batches < 1:
        raise ValueError(f"averaged over {batches} batches")
    return weight.detach().abs().to(torch.float64).square_().mul_(curvature).div_(2 * batches)


@final
@dataclass(frozen=True)
class Obd(WeightCriterion):
    """w^2 / 2 times the diagonal of the Hessian, summed over all weights of a unit.

    A unit is worth the absolute value of its sum. The paper's curvatures are positive by construction; those
    of the exact Hessian need not be, and an estimate of a small one is as often negative. Each weight keeps
    its sign until those of a unit are added up: the errors of the probes cancel in a sum, and would all count
    as worth if every weight were taken absolutely first. A negative sum says that the loss bends down, and a
    parabola that falls without end is not to be believed so far out: what is known is how much the unit
    matters. Clamped at 0, all such units would be equal, and go in the order of their indices.

    PyTorch takes what is behind an operator of one's own that is marked `once_differentiable` for flat, and
    does not say so; operators of its own that have no second derivative are refused.

    Attributes:
        probes: random directions a batch, each one more backward pass; the error of the estimate falls with
            the root of probes times batches.
        seed: of these.
    """

    probes: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        self._curvature()  # says what is wrong with the options

    @property
    def record(self) -> Record:
        """What it needs depends on the options."""
        return Record(
            name="obd",
            summary="second-order change of the loss: sum(w**2 / 2 * d2L/dw2), averaged over batches",
            scores="weights",
            needs=frozenset({self._curvature()}),
            normalise="none",
            source="LeCun et al. 1989, NeurIPS 2; probes as in Yao et al. 2021, arXiv:2006.00719",
            cost=f"{self.probes + 1} backwards a batch",
        )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """w^2 / 2 * mean over batches of d2L/dw2."""
        curvature = statistics.curvatures[self._curvature()][name]
        return obd(weight, curvature, batches=statistics.batches)

    def finish(self, total: Tensor) -> Tensor:
        """The absolute value."""
        return total.abs()

    def _curvature(self) -> Curvature:
        return Curvature(self.probes, self.seed)
