"""Figures, and where each of them comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from penjing.devices.clock import Basis, Timing

Provenance = Literal["measured", "compiler", "analytic"]
Unit = Literal["ms", "mJ", "bytes", "macs", "params"]


@dataclass(frozen=True)
class Figure:
    """One quantity of one network.

    Attributes:
        quantity: `latency`, `energy`, `size`, `memory`, `macs` or `params`.
        value: in `unit`.
        unit: of `value`.
        provenance: measured on a device, said by a compiler, or computed from shapes.
        error: relative half-width of the band that the true value is thought to be in; 0 where it is exact.
    """

    quantity: str
    value: float
    unit: Unit
    provenance: Provenance
    error: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """What one artifact took on a device.

    Attributes:
        wall_ms: median wall time of a run.
        cpu_ms: median CPU time of a run.
        latency_ms: the one of the two that `basis` names.
        basis: the same for all artifacts that were measured together.
        runs: how many runs were timed.
        spread: standard error of `latency_ms`, relative to it.
        provenance: always `measured`.
    """

    wall_ms: float
    cpu_ms: float
    latency_ms: float
    basis: Basis
    runs: int
    spread: float
    provenance: Provenance = "measured"

    @classmethod
    def of(cls, timing: Timing, basis: Basis) -> Measurement:
        """A timing read by one of its two clocks."""
        wall = basis == "wall"
        return cls(
            wall_ms=timing.wall_s * 1e3,
            cpu_ms=timing.cpu_s * 1e3,
            latency_ms=(timing.wall_s if wall else timing.cpu_s) * 1e3,
            basis=basis,
            runs=timing.runs,
            spread=timing.wall_spread if wall else timing.cpu_spread,
        )

    @classmethod
    def mean(cls, found: Sequence[Measurement]) -> Measurement:
        """Of one artifact, measured in several sessions; by CPU time if any of them had to be."""
        basis: Basis = "cpu" if any(one.basis == "cpu" for one in found) else "wall"
        wall, cpu = fmean(one.wall_ms for one in found), fmean(one.cpu_ms for one in found)
        read = [one.wall_ms if basis == "wall" else one.cpu_ms for one in found]
        latency = fmean(read)
        between = stdev(read) / math.sqrt(len(read)) / latency if len(read) > 1 else 0.0
        within = fmean(one.spread for one in found)
        return cls(wall, cpu, latency, basis, sum(one.runs for one in found), max(between, within))

    @classmethod
    def beside_first(cls, found: Sequence[Measurement]) -> list[Measurement]:
        """Of artifacts that were timed in the order of `clock.beside_first`: one of each."""
        return [cls.mean(found[::2]), *found[1::2]]

    def record(self) -> dict[str, Any]:
        """As data; `Measurement(**record)` is its inverse."""
        return asdict(self)

    @property
    def figure(self) -> Figure:
        """The latency alone."""
        return Figure("latency", self.latency_ms, "ms", self.provenance, self.spread)
