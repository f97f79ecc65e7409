"""HRank: maps of high rank hold more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from penjing.criteria.activations import over_places
from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.statistics import Statistics
from penjing.network import Axis


@final
@dataclass(frozen=True)
class HRank(UnitCriterion):
    """Mean rank of a unit's feature map.

    Where a unit has no map (behind a linear layer), it is the share of samples in which it is not zero.

    Source: Lin et al. 2020, arXiv:2002.10179, eq. 6; at most 512 samples of a batch are looked at.
    """

    record: ClassVar[Record] = Record(
        name="hrank",
        summary="mean rank of a unit's feature maps",
        scores="units",
        needs=frozenset({"activations", "ranks"}),
        normalise="mean",
        source="Lin et al. 2020, arXiv:2002.10179",
        cost="one forward a batch",
    )

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """Between 0 and the smaller side of the map."""
        every = statistics.activations_of(axis.name)
        return over_places([one.by_unit(one.seen.ranks / max(1, one.seen.maps)) for one in every])
