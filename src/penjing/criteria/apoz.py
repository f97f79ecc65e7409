"""APoZ: units that are zero most of the time do little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from penjing.criteria.activations import over_places, with_ties_broken
from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.statistics import Statistics
from penjing.network import Axis


@final
@dataclass(frozen=True)
class Apoz(UnitCriterion):
    """The share of activations that are not zero: one less the average percentage of zeros.

    It says something behind ReLU alone: smooth activation functions are never zero. Of units that are worth
    the same, the larger one by its mean absolute activation is worth a millionth more.

    Source: Hu et al. 2016, arXiv:1607.03250, eq. 1 (APoZ), where units with many zeros go first.
    """

    record: ClassVar[Record] = Record(
        name="apoz",
        summary="share of activations that are not zero",
        scores="units",
        needs=frozenset({"activations"}),
        normalise="none",
        source="Hu et al. 2016, arXiv:1607.03250",
        cost="one forward a batch",
    )

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """Over all samples and positions."""
        every = statistics.activations_of(axis.name)
        shown = over_places([1 - one.zeros / one.counts.clamp_min(1) for one in every])
        return with_ties_broken(shown, every)
