"""HRank: maps of high rank hold more."""

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
class HRank(UnitCriterion):
    """Mean rank of a unit's feature map.

    Where a unit has no map (behind a linear layer, of tokens), it is the share of samples in which it is not
    zero; of a map of three dimensions, the last two count as one. Of units that are worth the same, the
    larger one by its mean absolute activation is worth a millionth more.

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
        ranks = over_places([one.ranks / max(1, one.maps) for one in every])
        return with_ties_broken(ranks, every)
