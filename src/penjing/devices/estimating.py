"""Devices that are not at hand: what a network of any widths takes there is worked out, not measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from penjing.devices.device import Device
from penjing.devices.stairs import Stairs
from penjing.network import Network, Operator


class Prices(Protocol):
    """What one network takes at any widths.

    Attributes:
        quantities: what it tells, `latency` among them.
        band: relative half-width of the band around every figure.
        vectorised: whether `operator` takes arrays for widths.
    """

    quantities: tuple[str, ...]
    band: float
    vectorised: bool

    def total(self, quantity: str, counts: Mapping[str, int]) -> float:
        """Of the whole network when each axis in `counts` keeps that many units."""
        ...

    def figures(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Every quantity of the whole network."""
        ...

    def constant(self, quantity: str) -> float:
        """What a call costs before any operator runs."""
        ...

    def operator(self, quantity: str, operator: Operator, counts: Mapping[str, Any]) -> Any:
        """One operator's part; all of them and the constant add up to `total`."""
        ...

    def alone(self, operator: Operator) -> bool:
        """Whether the operator costs something of its own."""
        ...


class Estimating(Device):
    """A device whose figures are never called met: they are estimates."""

    @property
    @abstractmethod
    def stairs(self) -> Stairs:
        """The multiples that it pads to."""

    @property
    @abstractmethod
    def content(self) -> str:
        """All that its estimates rest on, as text, so that a changed file is noticed."""

    @abstractmethod
    def estimate(self, net: Network) -> Prices:
        """What networks cut from `net` will take.

        Raises:
            PenjingError: the device knows nothing of this network.
        """
