"""Microcontrollers: the arena by tflite-micro's own word, flash by the file, cycles by a sheet."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final

from torch import nn

from penjing.devices.export import Artifact
from penjing.devices.form import Form
from penjing.devices.measurement import Provenance
from penjing.devices.refusal import existing, refused
from penjing.devices.roofline import Roofline
from penjing.devices.tflite import to_tflite
from penjing.devices.tool import ask, last_words
from penjing.network import Call

_ASK: Final = """
import sys
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1])
interpreter.print_allocations()
"""


@dataclass(frozen=True)
class Micro(Roofline):
    """A microcontroller that runs int8 files in tflite-micro.

    The memory is that of the arena: what tflite-micro's interpreter allocates for this file when it runs
    here. A board's build may take another amount: bookkeeping has 8-byte pointers here, and kernels ask for
    the scratch memory that this machine's ones need. Latency, cycles and energy are the sheet's estimate.
    """

    form: ClassVar[Form] = "tflite"
    package: ClassVar[str] = "tflite-micro"
    module: ClassVar[str] = "tflite_micro"
    extra: ClassVar[str] = "micro"
    reads: ClassVar[frozenset[str]] = frozenset({"memory"})
    ranged: ClassVar[bool] = True
    reads_provenance: ClassVar[Provenance] = "measured"

    def __post_init__(self) -> None:
        """Refuses to stand in for an interpreter that is not there.

        Raises:
            PenjingError: PJ409, tflite-micro is not installed.
        """
        self.require()

    @property
    def name(self) -> str:  # type: ignore[override]
        """Of the sheet, with what runs there."""
        return f"{self.sheet.name}-tflite-micro"

    @property
    def summary(self) -> str:  # type: ignore[override]
        """What it is."""
        return f"{self.sheet.summary}: arena by tflite-micro, the rest by the sheet"

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """A `.tflite` file in int8."""
        return to_tflite(model, call, path, precision="int8", calibration=calibration)

    def figures(self, artifact: Path) -> Mapping[str, float]:
        """The arena.

        Raises:
            PenjingError: PJ404, there is no such file; PJ405, tflite-micro refuses it.
        """
        found = _arena(existing(artifact).read_bytes(), str(artifact))
        if isinstance(found, str):
            raise refused("tflite-micro", str(artifact), RuntimeError(found))
        return {"memory": float(found)}

    def record(self) -> dict[str, Any]:
        """The sheet, and the interpreter that the arena is of."""
        runtime = f"tflite-micro {metadata.version(self.package)}"
        return {**super().record(), "name": self.name, "runtime": runtime}


@lru_cache(maxsize=64)
def _arena(content: bytes, name: str) -> int | str:
    """Bytes that the interpreter allocates, or why it does not run."""
    with tempfile.TemporaryDirectory(prefix="penjing-micro-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        well, text = ask(_ASK, [str(path)])
    total = re.search(r"Arena allocation total (\d+) bytes", text)
    return int(total[1]) if well and total else last_words(text)
