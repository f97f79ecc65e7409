"""The CPU of this machine, through ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnxruntime

from penjing.devices.feeds import feeds
from penjing.devices.nodes import NodeTime, profile
from penjing.devices.session import Session
from penjing.devices.single import Single
from penjing.devices.timed import Job, Timed
from penjing.network import Call


@dataclass(frozen=True)
class Cpu(Timed):
    """ONNX Runtime on this machine's CPU."""

    name: ClassVar[str] = "cpu"
    summary: ClassVar[str] = "this machine's CPU through ONNX Runtime, timed"
    package: ClassVar[str] = "onnxruntime"
    module: ClassVar[str] = "onnxruntime"

    @property
    def runtime(self) -> str:
        """Its version by its own word: several packages bring it."""
        return f"onnxruntime {onnxruntime.__version__}"

    def job(self, artifact: Path, call: Call | None) -> Job:
        """A session of an ONNX file."""
        session = Session(artifact, threads=self.threads)
        return session.job(session.random_feeds() if call is None else feeds(call))

    def single(self, single: Single) -> Job:
        """A session of the serialised model."""
        session = Session(single.model, threads=self.threads)
        return session.job(session.random_feeds())

    def profile(
        self, artifact: Path | str, *, call: Call | None = None, seconds: float = 0.5
    ) -> list[NodeTime]:
        """Times every operator of an artifact while the whole of it runs.

        Raises:
            PenjingError: PJ404 or PJ405, as for `measure`.
        """
        given = None if call is None else feeds(call)
        return profile(Path(artifact), given, threads=self.threads, seconds=seconds)
