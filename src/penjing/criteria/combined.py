"""Several criteria together, each with its say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from penjing.criteria.combine import NORMALISATIONS, Aggregate
from penjing.criteria.criterion import Criterion, NetworkCriterion, Record
from penjing.criteria.scoring import score
from penjing.criteria.statistics import Need, Statistics
from penjing.criteria.table import get
from penjing.errors import PenjingError
from penjing.network import Network


@final
@dataclass(frozen=True)
class Combined(NetworkCriterion):
    """The weighted sum of ranks that several criteria give to the units of a network.

    Ranks, since criteria are in different units. Each part scores all units as it does by itself, its own
    normalisation across axes included; then a unit's rank is its place among all units of the network, over
    their number: in (0, 1], equal units sharing the mean of theirs. What a part says of one axis against
    another is kept, and how much it says is not.

    Attributes:
        parts: criteria or their names, and how much each counts: `(("taylor", 0.7), ("magnitude", 0.3))`.
    """

    parts: tuple[tuple[Criterion | str, float], ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise PenjingError("PJ306", "Combined(()) combines nothing", tries=['(("taylor", 1.0),)'])
        for part, share in self.parts:
            get(part)
            if not (math.isfinite(share) and share > 0):
                raise PenjingError(
                    "PJ306", f"{part} cannot count {share}", tries=["a number above 0", "leave it out"]
                )

    @property
    def record(self) -> Record:
        """That of all parts together."""
        records = [(get(part).record, share) for part, share in self.parts]
        return Record(
            name="combined",
            summary=" + ".join(f"{share:g} * rank({record.name})" for record, share in records),
            scores="units",
            needs=frozenset[Need]().union(*(record.needs for record, _ in records)),
            normalise="none",
            source="; ".join(dict.fromkeys(record.source for record, _ in records)),
            cost=" and ".join(dict.fromkeys(record.cost for record, _ in records if record.cost)),
        )

    def worth(self, net: Network, statistics: Statistics, *, aggregate: Aggregate) -> dict[str, Tensor]:
        """The weighted sum of ranks; slices are put together as `aggregate` says by each part."""
        sizes = [axis.size for axis in net.prunable]
        total = torch.zeros(sum(sizes), dtype=torch.float64)
        for part, share in self.parts:
            scores = score(net, get(part), statistics, aggregate=aggregate)
            total += share * NORMALISATIONS["rank"](torch.cat([scores[axis.name] for axis in net.prunable]))
        return {axis.name: own for axis, own in zip(net.prunable, total.split(sizes), strict=True)}
