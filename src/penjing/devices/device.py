"""What every device can say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from penjing.devices.export import Artifact, to_onnx
from penjing.devices.form import Form
from penjing.devices.measurement import Provenance
from penjing.errors import PenjingError
from penjing.network import Call


class Device(ABC):
    """Something that can say what a network costs.

    Attributes:
        name: as in `DEVICES`.
        quantity: what it says: `latency`, `macs` or `params`.
        provenance: how it comes to know.
        summary: one line for `penjing devices`.
        form: of the artifact that it runs.
        package: of the runtime or compiler that it needs, on PyPI; "" for none.
        module: that its package brings.
        extra: of penjing's own installation that brings it; "" where it always comes along.
        reads: the quantities that `figures` tells.
        reads_provenance: how it comes to know those.
        ranged: whether numbers in its files have ranges, which `export` takes from calibration calls.
    """

    name: ClassVar[str]
    quantity: ClassVar[str]
    provenance: ClassVar[Provenance]
    summary: ClassVar[str]
    form: ClassVar[Form] = "onnx"
    package: ClassVar[str] = ""
    module: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    reads: ClassVar[frozenset[str]] = frozenset()
    reads_provenance: ClassVar[Provenance] = "compiler"
    ranged: ClassVar[bool] = False

    @property
    def error(self) -> float | None:
        """Relative half-width of the band around latencies, cycles and energies; None where measured."""
        return None

    @property
    def spec(self) -> str:
        """What `get` finds it by: its name, or the path of its sheet."""
        return self.name

    @property
    def clock_hz(self) -> float | None:
        """Cycles a second; None where its latencies are not of a clock that is known."""
        return None

    @classmethod
    def missing(cls) -> str:
        """What it needs and this machine has not: a package, a tool, a processor; "" where it can be used."""
        return "" if not cls.module or find_spec(cls.module) is not None else cls.package

    @classmethod
    def installed(cls) -> bool:
        """Whether what it needs is there."""
        return not cls.missing()

    @classmethod
    def install(cls) -> str:
        """What brings what it needs, a command where one does; "" where it always comes along."""
        return f'pip install "penjing[{cls.extra}]"' if cls.extra else ""

    def require(self) -> None:
        """Makes sure that what it needs is there.

        Raises:
            PenjingError: PJ409, it is not.
        """
        missing = self.missing()
        if missing:
            raise PenjingError(
                "PJ409",
                f"device `{self.name}` needs {missing}, which is not here",
                because="another device would give another latency",
                tries=[self.install(), "penjing devices"],
            )

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What a report says of the device: at least `name`, `runtime` and `threads`."""

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """What the device runs, made of `model`: a file in its `form`.

        Args:
            model: left as it was.
            call: the example inputs.
            path: where to write.
            calibration: more calls, for devices whose numbers have ranges.

        Raises:
            PenjingError: PJ402, the model has no such form; PJ403, the file computes something else; PJ405,
                the runtime refuses it.
        """
        return to_onnx(model, call, path)

    def draft(self, model: nn.Module, call: Call, path: Path) -> Artifact:
        """The same to be measured and thrown away: ranges are those of the example inputs.

        What takes long and no figure but the metric depends on may be left out.

        Raises:
            PenjingError: as `export`.
        """
        return self.export(model, call, path)

    def figures(self, artifact: Path) -> Mapping[str, float]:
        """What the device's own tools say of an artifact beside its latency, by quantity: `memory` in bytes.

        Raises:
            PenjingError: PJ405, they refuse it.
        """
        return {}

    def remarks(self, artifact: Path) -> list[str]:
        """What a user should know of the figures of an artifact.

        Raises:
            PenjingError: PJ405, the device's tools refuse it.
        """
        return []
