"""Random worth of single weights: what every criterion has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from penjing.criteria import Record, Statistics, WeightCriterion
from penjing.criteria.random import random


@final
@dataclass(frozen=True)
class RandomWeights(WeightCriterion):
    """A uniform random number for every weight.

    Attributes:
        seed: equal seeds give equal numbers.
    """

    seed: int = 0
    record: ClassVar[Record] = Record(
        name="random",
        summary="a uniform random number for every weight",
        scores="weights",
        needs=frozenset(),
        normalise="none",
        source="the baseline of Frankle & Carbin 2019, arXiv:1803.03635",
    )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """Uniform in [0, 1)."""
        return random(weight.numel(), name=name, seed=self.seed).view(weight.shape)
