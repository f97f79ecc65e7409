"""Devices that exist on paper only: they count, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from penjing.devices.device import Device
from penjing.devices.measurement import Figure, Provenance
from penjing.network import Network


@dataclass(frozen=True)
class Macs(Device):
    """Multiply-accumulate operations, as if nothing else took time."""

    name: ClassVar[str] = "macs"
    quantity: ClassVar[str] = "macs"
    provenance: ClassVar[Provenance] = "analytic"
    summary: ClassVar[str] = "multiply-accumulate operations of one call, counted"

    def figure(self, net: Network, counts: Mapping[str, int]) -> Figure:
        """The operations of `net` when each axis in `counts` keeps that many units."""
        return Figure("macs", net.macs_at(counts), "macs", self.provenance)

    def record(self) -> dict[str, Any]:
        """Counted by penjing itself."""
        return _counted(self.name)


@dataclass(frozen=True)
class Params(Device):
    """Elements of all parameters."""

    name: ClassVar[str] = "params"
    quantity: ClassVar[str] = "params"
    provenance: ClassVar[Provenance] = "analytic"
    summary: ClassVar[str] = "parameters, counted"

    def figure(self, net: Network, counts: Mapping[str, int]) -> Figure:
        """The parameters of `net` when each axis in `counts` keeps that many units."""
        return Figure("params", net.parameters_at(counts), "params", self.provenance)

    def record(self) -> dict[str, Any]:
        """Counted by penjing itself."""
        return _counted(self.name)


def _counted(name: str) -> dict[str, Any]:
    return {"name": name, "runtime": "penjing", "threads": 1, "provenance": "analytic"}
