"""FPGAs, by what hls4ml makes of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final

from torch import nn

from penjing.devices.estimating import Estimating
from penjing.devices.export import Artifact
from penjing.devices.form import Form
from penjing.devices.hls.emulator import compiler
from penjing.devices.hls.prices import HlsPrices
from penjing.devices.hls.project import Style, to_project
from penjing.devices.hls.reading import read_project
from penjing.devices.measurement import Provenance
from penjing.devices.spec import joined
from penjing.devices.stairs import Stairs
from penjing.errors import PenjingError
from penjing.network import Call, Network

ERROR: Final = 0.5
"""Half-width of the band around cycles: stages overlap by an amount that only a simulation tells."""

_BITS: Final = range(6, 19)  # one DSP multiplies up to 18 bits


@dataclass(frozen=True)
class Hls4ml(Estimating):
    """An FPGA design by hls4ml: fixed-point C++ whose layers stream into one another.

    Every layer has at most `multipliers` of them, so that a narrower one uses each less often and takes
    fewer cycles. Cycles follow from the reuse factors by hls4ml's own rule, and from nothing that was
    synthesised; the memory is that of the block RAMs that weights and streams take. The emulation, which
    accuracy is measured by, is exact.

    Attributes:
        multipliers: of one layer, at most.
        bits: of weights and activations, 6 to 18.
        clock_mhz: of the design.
        part: the FPGA, as Vitis HLS calls it; it is only written down.
    """

    multipliers: int = 64
    bits: int = 16
    clock_mhz: float = 200.0
    part: str = "xc7z020-clg400-1"
    name: ClassVar[str] = "hls4ml"
    quantity: ClassVar[str] = "latency"
    provenance: ClassVar[Provenance] = "analytic"
    summary: ClassVar[str] = (
        "an FPGA design by hls4ml: cycles and block RAM by formulas, accuracy by emulation"
    )
    form: ClassVar[Form] = "hls.zip"
    package: ClassVar[str] = "hls4ml"
    module: ClassVar[str] = "hls4ml"
    extra: ClassVar[str] = "fpga"
    reads: ClassVar[frozenset[str]] = frozenset({"memory"})
    reads_provenance: ClassVar[Provenance] = "analytic"
    ranged: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuses a design that cannot be, and a tool that is not there.

        Raises:
            PenjingError: PJ406 and PJ409.
        """
        if self.multipliers < 1 or self.bits not in _BITS or not 0 < self.clock_mhz < math.inf:
            raise PenjingError(
                "PJ406",
                f"hls4ml cannot build a design of {self.multipliers} multipliers, {self.bits} bits and "
                f"{self.clock_mhz} MHz",
                tries=[f"multipliers >= 1, {_BITS[0]} <= bits <= {_BITS[-1]}, clock_mhz > 0"],
            )
        self.require()

    @classmethod
    def missing(cls) -> str:
        """hls4ml itself, or the compiler that its emulation needs."""
        return super().missing() or ("" if compiler() else "a C++ compiler (`g++`) and `bash`")

    @classmethod
    def install(cls) -> str:
        """The commands that bring both."""
        return f"{super().install()} and `apt install g++`"

    @property
    def spec(self) -> str:
        """With its options."""
        return joined(self.name, self)

    @property
    def error(self) -> float:
        """`ERROR`."""
        return ERROR

    @property
    def clock_hz(self) -> float:
        """Of the design."""
        return self.clock_mhz * 1e6

    @property
    def stairs(self) -> Stairs:
        """It pads nothing: which widths fold well follows from their divisors, and is in every price."""
        return Stairs()

    @property
    def content(self) -> str:
        """All of its attributes."""
        return repr(self)

    def estimate(self, net: Network) -> HlsPrices:
        """What networks cut from `net` will take."""
        return HlsPrices(net, self.multipliers, self.clock_mhz, self.error)

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """The project, in a zip file."""
        return to_project(model, call, path, self._style, calibration=calibration)

    def draft(self, model: nn.Module, call: Call, path: Path) -> Artifact:
        """The project, without the emulation that takes g++ a quarter of a minute."""
        return to_project(model, call, path, self._style, emulated=False)

    def figures(self, artifact: Path) -> Mapping[str, float]:
        """The block RAM that weights and streams take.

        Raises:
            PenjingError: PJ404 and PJ405.
        """
        return {"memory": float(read_project(artifact).memory_bytes)}

    def remarks(self, artifact: Path) -> list[str]:
        """What the design is made of."""
        found = read_project(artifact)
        return [
            f"hls4ml: {found.multipliers:,} multipliers, {found.weight_blocks} block RAMs for weights and "
            f"{found.stream_blocks} for streams, by formulas",
            f"the slowest layer takes {found.slowest_cycles:,} cycles, so often the design takes an input; "
            "latency and cycles are of all layers one after another, the longest that one input can take",
        ]

    @property
    def _style(self) -> Style:
        return Style(self.bits, self.multipliers, self.clock_mhz, self.part)

    def record(self) -> dict[str, Any]:
        """What a report says of the device."""
        return {
            "name": self.name,
            "runtime": f"hls4ml {metadata.version(self.package)}",
            "threads": 1,
            "provenance": self.provenance,
            "precision": f"fixed{self.bits}",
            "multipliers": self.multipliers,
            "clock_mhz": self.clock_mhz,
            "part": self.part,
            "error": self.error,
        }
