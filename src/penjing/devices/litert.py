"""The CPU of this machine, through LiteRT and XNNPACK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from penjing.devices.export import Artifact
from penjing.devices.feeds import feeds
from penjing.devices.flatbuffer import single_tflite
from penjing.devices.form import Form
from penjing.devices.interpreter import Interpreter
from penjing.devices.single import Single
from penjing.devices.tflite import to_tflite
from penjing.devices.timed import Job, Timed
from penjing.network import Call


@dataclass(frozen=True)
class LiteRt(Timed):
    """LiteRT (once TensorFlow Lite) on this machine's CPU, in float32."""

    name: ClassVar[str] = "litert"
    summary: ClassVar[str] = "this machine's CPU through LiteRT and XNNPACK, timed"
    package: ClassVar[str] = "ai-edge-litert"
    module: ClassVar[str] = "litert_torch"
    extra: ClassVar[str] = "litert"
    form: ClassVar[Form] = "tflite"

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """A `.tflite` file in float32; `calibration` is not needed for it."""
        return to_tflite(model, call, path)

    def job(self, artifact: Path, call: Call | None) -> Job:
        """An interpreter of the file."""
        return Interpreter(artifact, threads=self.threads).job(None if call is None else feeds(call))

    def single(self, single: Single) -> Job:
        """An interpreter of the operator's own file."""
        return Interpreter(single_tflite(single), threads=self.threads).job()
