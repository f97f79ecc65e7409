"""The CPU of this machine, through OpenVINO."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from penjing.devices.feeds import Feeds, feeds
from penjing.devices.nodes import NodeTime
from penjing.devices.openvino_nodes import profiled
from penjing.devices.refusal import existing, refused
from penjing.devices.session import Session
from penjing.devices.single import Single
from penjing.devices.timed import Job, Timed
from penjing.network import Call


@dataclass(frozen=True)
class OpenVino(Timed):
    """OpenVINO on this machine's CPU, in float32.

    Left to itself it computes in bfloat16 where the processor has that, which is another function, and for
    small networks a slower one.
    """

    name: ClassVar[str] = "openvino"
    summary: ClassVar[str] = "this machine's CPU through OpenVINO, timed"
    package: ClassVar[str] = "openvino"
    module: ClassVar[str] = "openvino"
    extra: ClassVar[str] = "openvino"

    def job(self, artifact: Path, call: Call | None) -> Job:
        """An ONNX file, compiled for the shapes of the call."""
        given = Session(artifact, threads=self.threads).random_feeds() if call is None else feeds(call)
        return self._compiled(str(existing(artifact)), str(artifact), given)

    def single(self, single: Single) -> Job:
        """The serialised model, compiled."""
        given = Session(single.model).random_feeds()
        return self._compiled(single.model, "the model", given)

    def profile(
        self, artifact: Path | str, *, call: Call | None = None, seconds: float = 0.5
    ) -> list[NodeTime]:
        """Times every operator of an artifact, by OpenVINO's own counters.

        Raises:
            PenjingError: PJ404 or PJ405, as for `measure`.
        """
        path = existing(Path(artifact))
        given = Session(path, threads=self.threads).random_feeds() if call is None else feeds(call)
        compiled, request = self._request(str(path), str(path), given, counted=True)
        return profiled(compiled, request, request.infer, seconds)

    def _compiled(self, model: str | bytes, name: str, given: Feeds) -> Job:
        run: Callable[[], object] = self._request(model, name, given)[1].infer
        return run

    def _request(
        self, model: str | bytes, name: str, given: Feeds, *, counted: bool = False
    ) -> tuple[Any, Any]:
        """The compiled model, and a request that has run once.

        Raises:
            PenjingError: PJ405, OpenVINO refuses it.
        """
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "PERF_COUNT": counted,
        }
        try:
            core = openvino.Core()
            read: Any = core.read_model(model) if isinstance(model, str) else core.read_model(model, b"")
            read.reshape({entry: list(value.shape) for entry, value in given.items()})
            compiled = core.compile_model(read, "CPU", options)
            request = compiled.create_infer_request()
            for entry, value in given.items():
                request.set_tensor(entry, openvino.Tensor(value))
            request.infer()
        except Exception as error:  # the runtime raises RuntimeError and its own
            raise refused("OpenVINO", name, error) from error
        return compiled, request

    @property
    def _cpu_clock(self) -> Callable[[], float]:
        """Even a single thread is one of the runtime's own."""
        return time.process_time
