"""Activity: units whose activations are small do little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from penjing.criteria.activations import over_places
from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.seen import Seen
from penjing.criteria.statistics import Statistics
from penjing.errors import PenjingError
from penjing.network import Axis


@final
@dataclass(frozen=True)
class Activity(UnitCriterion):
    """Mean or largest absolute activation of a unit over the calibration data.

    Attributes:
        of: "mean" or "max", over samples and positions.
        threshold: a unit whose figure is not above it counts as inactive: worth nothing.

    Source: the mean activation of Molchanov et al. 2017, arXiv:1611.06440, section 2.2 ("activation"); of
    absolute values, so that units of both signs (GELU, tanh) do not cancel.
    """

    of: Literal["mean", "max"] = "mean"
    threshold: float = 0.0
    record: ClassVar[Record] = Record(
        name="activity",
        summary="mean (or largest) absolute activation",
        scores="units",
        needs=frozenset({"activations"}),
        normalise="mean",
        source="Molchanov et al. 2017, arXiv:1611.06440",
        cost="one forward a batch",
    )

    def __post_init__(self) -> None:
        if self.of not in ("mean", "max"):
            raise PenjingError("PJ306", f"Activity(of={self.of!r})", tries=['of="mean" or of="max"'])
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise PenjingError(
                "PJ306", f"Activity(threshold={self.threshold}) is no size", tries=["threshold=0.0 or more"]
            )

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """Of what layers read that sum over the units."""
        every = statistics.activations_of(axis.name)
        found = over_places([self._figure(one) for one in every])
        return found.where(found > self.threshold, 0.0)

    def _figure(self, seen: Seen) -> Tensor:
        return seen.largest if self.of == "max" else seen.size / seen.counts.clamp_min(1)
