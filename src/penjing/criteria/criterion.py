"""What a criterion is: a frozen record that turns tensors into worth, and says what it needs for that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from penjing.criteria.combine import Aggregate, Normalise
from penjing.criteria.statistics import Need, Statistics
from penjing.network import Axis, Network


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
        cost: what it takes, in a few words; empty where nobody has said.
    """

    name: str
    summary: str
    scores: Literal["weights", "units"]
    needs: frozenset[Need]
    normalise: Normalise
    source: str
    cost: str = ""


class Criterion(ABC):
    """What every criterion has; derive from `WeightCriterion`, `UnitCriterion` or `NetworkCriterion`."""

    @property
    @abstractmethod
    def record(self) -> Record:
        """What is to be known of it: a class attribute where its options change nothing of it."""


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


class NetworkCriterion(Criterion):
    """Says what every unit of every axis is worth, where that takes a look at the network itself."""

    @abstractmethod
    def worth(self, net: Network, statistics: Statistics, *, aggregate: Aggregate) -> Mapping[str, Tensor]:
        """The worth of all units.

        Args:
            net: the network; not to be changed.
            statistics: what was collected; holds at least what the record says it needs.
            aggregate: how slices of a unit are put together, where that is a question.

        Returns:
            The name of every axis that may be cut -> float64 [size], on the CPU; larger means keep.
        """
