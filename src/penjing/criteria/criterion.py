"""What a criterion is: a frozen record that turns tensors into worth, and says what it needs for that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from penjing.criteria.combine import Normalise
from penjing.criteria.statistics import Need, Statistics
from penjing.network import Axis


@dataclass(frozen=True)
class Record:
    """What is to be known of a criterion before it is used; `penjing criteria` prints it.

    Attributes:
        name: as in the table.
        summary: one line: the formula.
        scores: whether it says what single weights are worth, which are then summed over the slices of a
            unit, or what a unit is worth as a whole.
        needs: the statistics to collect; empty where the weights alone do.
        normalise: how its scores are made comparable across axes unless the user says otherwise.
        source: where it was published.
    """

    name: str
    summary: str
    scores: Literal["weights", "units"]
    needs: frozenset[Need]
    normalise: Normalise
    source: str


class Criterion(ABC):
    """What every criterion has; derive from `WeightCriterion` or `UnitCriterion`."""

    record: ClassVar[Record]


class WeightCriterion(Criterion):
    """Says what every single weight is worth."""

    @abstractmethod
    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """The worth of every element of a parameter; larger means keep.

        Args:
            name: the parameter's dotted name, by which `statistics` knows it.
            weight: its value; not to be changed.
            statistics: what was collected; holds at least what the record says it needs.

        Returns:
            Float64, shaped as `weight`.
        """

    def finish(self, total: Tensor) -> Tensor:
        """The worth of units, given the totals over their slices.

        These are the totals themselves, unless a root is due.
        """
        return total


class UnitCriterion(Criterion):
    """Says what every unit of an axis is worth, all at once."""

    @abstractmethod
    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """The worth of every unit, float64 [axis.size]; larger means keep."""
