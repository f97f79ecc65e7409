"""Devices that say of one artifact what it takes: by running it, or by the word of a compiler."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from penjing.devices.cache import Cache
from penjing.devices.device import Device
from penjing.devices.fingerprint import Fingerprint
from penjing.devices.measurement import Measurement
from penjing.devices.nodes import NodeTime
from penjing.devices.stairs import Stairs
from penjing.network import Call


class Measuring(Device):
    """A device that is asked about artifacts, and never about widths.

    What networks of other widths will take is learnt from those that it was asked about (`CostModel`).
    """

    quantity: ClassVar[str] = "latency"

    @property
    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """What the measurements of this device depend on."""

    @abstractmethod
    def measure(
        self, artifacts: Path | str | Sequence[Path | str], *, call: Call | None = None, limit_s: float = 30.0
    ) -> list[Measurement]:
        """What artifacts take, one measurement each.

        Args:
            artifacts: one file or several.
            call: the inputs to run them on; made up from their own shapes where it is None.
            limit_s: seconds after which timings are taken as they are.

        Raises:
            PenjingError: PJ404 or PJ405, there is no such file, or it is refused.
        """

    def beside(
        self,
        one: Path | str,
        others: Sequence[Path | str],
        *,
        call: Call | None = None,
        limit_s: float = 30.0,
    ) -> list[Measurement]:
        """What `one` and each of the others take, as `compare` would find it: by turns, where they are run.

        Returns:
            A measurement of `one`, and then one of each other.

        Raises:
            PenjingError: as for `measure`.
        """
        return self.measure([one, *others], call=call, limit_s=limit_s)

    @abstractmethod
    def compare(
        self, one: Path | str, other: Path | str, *, call: Call | None = None
    ) -> tuple[Measurement, Measurement]:
        """What two artifacts take, so that their ratio holds on a second look too."""

    @abstractmethod
    def stairs(self, cache: Cache | None = None) -> Stairs:
        """The widths that this device works in: found out once, and kept."""

    def profile(
        self, artifact: Path | str, *, call: Call | None = None, seconds: float = 0.5
    ) -> list[NodeTime]:
        """What every operator of an artifact takes while the whole of it runs; nothing where that is unknown.

        Raises:
            PenjingError: PJ404 or PJ405, as for `measure`.
        """
        return []
