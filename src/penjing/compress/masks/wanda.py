"""Wanda: a weight is worth its size times that of what it multiplies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria import Record, Statistics, WeightCriterion
from penjing.criteria.grams import Reading
from penjing.errors import PenjingError


def wanda(matrix: Tensor, second_moment: Tensor) -> Tensor:
    """|w[g, o, f]| * sqrt(second_moment[g, f]).

    Args:
        matrix: weights, [groups, outputs, features]; a convolution's features are its taps and channels.
        second_moment: mean over calibration positions of x[g, f]**2, float64 [groups, features].

    Returns:
        Non-negative, float64, shaped as `matrix`; larger means keep. Comparable inside one row only: what it
        bounds is the error of one output.

    Source: Sun et al. 2023, arXiv:2306.11695, eq. 1, with the mean in the place of the sum: the same order.
    """
    return matrix.detach().abs().to(torch.float64) * second_moment.clamp_min(0).sqrt().unsqueeze(-2)


def second_moment(reading: Reading) -> Tensor:
    """Mean squared features, float64 [groups, features], from sums about a shift."""
    return second_moments(reading).diagonal(dim1=-2, dim2=-1)


def second_moments(reading: Reading) -> Tensor:
    """Mean products of features, float64 [groups, features, features]: not about their mean.

    Sums are kept about a shift s: with z = x - s, the mean of x x' is that of z z' + s z' + z s' + s s'.
    """
    mean = (reading.x.sum(0) / reading.rows).double()
    shift = reading.shift[:, 0].double()
    both = mean[:, :, None] * shift[:, None, :]
    return reading.xx.sum(0) / reading.rows + both + both.mT + shift[:, :, None] * shift[:, None, :]


@final
@dataclass(frozen=True)
class Wanda(WeightCriterion):
    """|w| times the root mean square of what it multiplies, of linear layers and convolutions."""

    record: ClassVar[Record] = Record(
        name="wanda",
        summary="size of a weight times that of its input: |w| * sqrt(mean(x**2)), within one output",
        scores="weights",
        needs=frozenset({"grams"}),
        normalise="none",
        source="Sun et al. 2023, arXiv:2306.11695",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """As the weight lies.

        Raises:
            PenjingError: PJ818, it is not known what the weight multiplies.
        """
        assert statistics.grams is not None
        readings = statistics.grams.of([name])
        if name not in readings:
            raise PenjingError(
                "PJ818",
                f"it is not known what `{name}` multiplies",
                because="it is not the weight of one linear layer or convolution that is called once",
                tries=[f'leave it whole: keep=["{name}"]', 'criterion="magnitude"'],
            )
        reading = readings[name]
        worth = wanda(reading.projection.matrix(weight), second_moment(reading))
        return reading.projection.shaped(worth, weight.double())
