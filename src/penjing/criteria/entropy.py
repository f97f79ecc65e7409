"""Entropy: units that give much the same whatever they are shown tell little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from penjing.criteria.activations import over_places
from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.statistics import Statistics
from penjing.errors import PenjingError
from penjing.network import Axis


def entropy(values: Tensor, *, bins: int) -> Tensor:
    """-sum(p log p) over the bins of each column's histogram, in nats.

    Args:
        values: [samples, columns], finite.
        bins: equally wide ones between the smallest and the largest value of each column.

    Returns:
        float64 [columns], from 0 (a constant column) to log(bins).

    Source: Luo and Wu 2017, arXiv:1706.05791, eq. 4: each sample's activations are averaged over positions
    before.
    """
    low, high = values.amin(0), values.amax(0)
    width = (high - low).where(high > low, 1.0)
    places = ((values - low) / width * bins).long().clamp_(0, bins - 1)
    columns = torch.arange(values.shape[1]).expand_as(places)
    counts = torch.bincount((columns * bins + places).flatten(), minlength=bins * values.shape[1])
    shares = counts.view(-1, bins).double() / max(1, len(values))
    found: Tensor = torch.special.entr(shares).sum(1)
    return found


@final
@dataclass(frozen=True)
class Entropy(UnitCriterion):
    """Entropy of a unit's activations, each sample's averaged over positions.

    Attributes:
        keep: "high" (the default): what hardly varies goes first, as its authors have it: a constant can be
            put into the next layer's bias. "low" is the other order that is found in the literature: what
            varies most is taken for noise. It is there to be compared with.
        bins: of the histogram.
    """

    keep: Literal["high", "low"] = "high"
    bins: int = 32
    record: ClassVar[Record] = Record(
        name="entropy",
        summary="entropy of activations, -sum(p log p) over a histogram",
        scores="units",
        needs=frozenset({"activations"}),
        normalise="mean",
        source="Luo and Wu 2017, arXiv:1706.05791",
        cost="one forward a batch",
    )

    def __post_init__(self) -> None:
        if self.keep not in ("high", "low"):
            raise PenjingError("PJ306", f"Entropy(keep={self.keep!r})", tries=['keep="high" or keep="low"'])
        if self.bins < 2:
            raise PenjingError("PJ306", f"Entropy(bins={self.bins}) tells nothing apart", tries=["bins=32"])

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """In nats; for `keep="low"`, what is missing to the largest that there can be."""
        every = statistics.activations_of(axis.name)
        found = over_places([entropy(one.samples, bins=self.bins) for one in every])
        return found if self.keep == "high" else math.log(self.bins) - found
