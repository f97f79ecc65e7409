"""An NVIDIA GPU of this machine, through ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnxruntime

from penjing.devices.feeds import feeds
from penjing.devices.nvidia import Nvidia
from penjing.devices.session import CUDA, Session
from penjing.devices.single import Single
from penjing.devices.timed import Job
from penjing.network import Call


@dataclass(frozen=True)
class Cuda(Nvidia):
    """ONNX Runtime on an NVIDIA GPU, in float32.

    Operators that its CUDA provider lacks run on the CPU, and their time counts. A session that is given no
    GPU at all is refused. Nobody has run this device on a GPU yet: what is tested is everything but that.
    """

    name: ClassVar[str] = "cuda"
    summary: ClassVar[str] = "an NVIDIA GPU through ONNX Runtime, timed; not yet run on hardware"
    package: ClassVar[str] = "onnxruntime-gpu"
    module: ClassVar[str] = "onnxruntime"
    provider: ClassVar[str] = CUDA
    place: ClassVar[str] = "cuda"

    @property
    def runtime(self) -> str:
        """Its version by its own word: several packages bring it."""
        return f"onnxruntime {onnxruntime.__version__} {self.provider}"

    @classmethod
    def _unsuited(cls) -> str:
        return "" if cls.provider in onnxruntime.get_available_providers() else cls.package

    @classmethod
    def _suited(cls) -> str:
        return "pip uninstall onnxruntime && pip install onnxruntime-gpu"

    def job(self, artifact: Path, call: Call | None) -> Job:
        """A session of an ONNX file, and inputs in the GPU's memory."""
        session = Session(artifact, threads=self.threads, provider=self.provider)
        return session.resident(session.random_feeds() if call is None else feeds(call), self.place)

    def single(self, single: Single) -> Job:
        """A session of the serialised model."""
        session = Session(single.model, threads=self.threads, provider=self.provider)
        return session.resident(session.random_feeds(), self.place)
