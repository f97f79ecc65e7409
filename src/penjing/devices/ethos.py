"""Arm Ethos-U NPUs, by the word of the Vela compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final

from torch import nn

from penjing.devices.cache import Cache
from penjing.devices.export import Artifact
from penjing.devices.fingerprint import Fingerprint
from penjing.devices.flatbuffer import single_tflite
from penjing.devices.form import Form
from penjing.devices.measurement import Measurement, Provenance
from penjing.devices.measuring import Measuring
from penjing.devices.single import Single, convolution
from penjing.devices.stairs import Stairs, probe
from penjing.devices.tflite import to_tflite
from penjing.devices.vela import Compiled, compiled
from penjing.errors import PenjingError
from penjing.network import Call

CONFIGS: Final[Mapping[str, tuple[str, str]]] = {
    "ethos-u55-32": ("Ethos_U55_Deep_Embedded", "Shared_Sram"),
    "ethos-u55-64": ("Ethos_U55_Deep_Embedded", "Shared_Sram"),
    "ethos-u55-128": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u55-256": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65-256": ("Ethos_U65_Embedded", "Shared_Sram"),
    "ethos-u65-512": ("Ethos_U65_High_End", "Shared_Sram"),
}
"""Accelerators, each with the system and the memory mode of Vela's own `vela.ini` that it is priced in."""

_SMALL: Final = convolution(8, 8, size=4, kernel=3)

ERROR: Final = 0.2
"""Half-width of the band around cycles: Vela's model is no simulation of the bus and of other masters."""


@dataclass(frozen=True)
class EthosU(Measuring):
    """An Ethos-U: runs int8 LiteRT files that Vela has compiled.

    Cycles and latency are Vela's estimate; the memory in use is what it has allocated.

    Attributes:
        config: a key of `CONFIGS`.
    """

    config: str = "ethos-u55-128"
    provenance: ClassVar[Provenance] = "compiler"
    form: ClassVar[Form] = "tflite"
    package: ClassVar[str] = "ethos-u-vela"
    module: ClassVar[str] = "ethosu"
    extra: ClassVar[str] = "ethos-u"
    reads: ClassVar[frozenset[str]] = frozenset({"memory"})
    ranged: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuses an accelerator that there is none of, and a compiler that is not there.

        Raises:
            PenjingError: PJ406 and PJ409.
        """
        if self.config not in CONFIGS:
            raise PenjingError("PJ406", f"there is no accelerator `{self.config}`", tries=[*CONFIGS])
        self.require()

    @property
    def name(self) -> str:  # type: ignore[override]
        """The accelerator's."""
        return self.config

    @property
    def summary(self) -> str:  # type: ignore[override]
        """What it is."""
        return f"Arm {self.config.title()} in int8, by the Vela compiler"

    @property
    def error(self) -> float:
        """`ERROR`."""
        return ERROR

    @property
    def clock_hz(self) -> float:
        """Of the NPU in its configuration."""
        probe_file = single_tflite(_SMALL, precision="int8")
        return self._compiled(probe_file).clock_hz

    @property
    def fingerprint(self) -> Fingerprint:
        """The compiler and its configuration; this machine does not matter."""
        runtime = f"vela {metadata.version(self.package)}"
        return Fingerprint(f"{self.config} {'/'.join(CONFIGS[self.config])}", runtime, 1, "int8")

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """A `.tflite` file in int8, before Vela has compiled it."""
        return to_tflite(model, call, path, precision="int8", calibration=calibration)

    def measure(
        self, artifacts: Path | str | Sequence[Path | str], *, call: Call | None = None, limit_s: float = 30.0
    ) -> list[Measurement]:
        """Compiles each; neither `call` nor `limit_s` matters to that.

        Raises:
            PenjingError: PJ404 or PJ405, there is no such file, or Vela refuses it or leaves all of it to the
                CPU.
        """
        paths = [artifacts] if isinstance(artifacts, str | Path) else artifacts
        return [self._measured(Path(path)) for path in paths]

    def compare(
        self, one: Path | str, other: Path | str, *, call: Call | None = None
    ) -> tuple[Measurement, Measurement]:
        """Compiles both."""
        first, second = self.measure([one, other])
        return first, second

    def figures(self, artifact: Path) -> Mapping[str, float]:
        """The memory that activations take."""
        return {"memory": self._compiled(artifact).sram_bytes}

    def remarks(self, artifact: Path) -> list[str]:
        """Which operators it leaves to the CPU, and what the weights take."""
        found = self._compiled(artifact)
        notes = [f"Vela: {found.cycles:,.0f} cycles, {found.flash_bytes / 1e3:.1f} KB of encoded weights"]
        if found.on_cpu:
            listed = "; ".join(found.on_cpu[:3]) + ("; ..." if len(found.on_cpu) > 3 else "")
            notes.append(f"Vela leaves operators to the CPU, whose time is in no figure: {listed}")
        return notes

    def stairs(self, cache: Cache | None = None) -> Stairs:
        """The widths that it works in: compiled once per accelerator and version of Vela."""
        cache = cache or Cache()
        name = f"stairs-{self.fingerprint.key()}"
        known = cache.load(name).get("stairs")
        if known is None:
            known = probe(self._cycles).record()
            cache.save(name, {"fingerprint": asdict(self.fingerprint), "stairs": known})
        return Stairs(**known)

    def record(self) -> dict[str, Any]:
        """What a report says of the device."""
        system, mode = CONFIGS[self.config]
        return {
            "name": self.name,
            "runtime": self.fingerprint.runtime,
            "threads": 1,
            "provenance": self.provenance,
            "precision": "int8",
            "system": system,
            "memory_mode": mode,
            "error": self.error,
        }

    def _measured(self, path: Path) -> Measurement:
        found = self._compiled(path)
        if not found.on_npu:
            raise PenjingError(
                "PJ405",
                f"the NPU runs no operator of `{path}`",
                because="; ".join(found.on_cpu[:3]) or "Vela leaves all of it to the CPU",
                tries=["--device cortex-m7 for a network that runs on the CPU alone"],
            )
        ms = found.latency_s * 1e3
        return Measurement(ms, ms, ms, "wall", 1, 0.0, provenance="compiler")

    def _cycles(self, singles: Sequence[Single]) -> list[float]:
        compile_one: Callable[[bytes], Compiled] = self._compiled
        return [compile_one(single_tflite(single, precision="int8")).cycles for single in singles]

    def _compiled(self, artifact: Path | bytes) -> Compiled:
        return compiled(artifact, self.config, *CONFIGS[self.config])
