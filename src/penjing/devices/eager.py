"""The CPU of this machine, through PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from penjing.devices.export import Artifact, own_words
from penjing.devices.form import Form
from penjing.devices.measurement import Measurement
from penjing.devices.program import to_program
from penjing.devices.refusal import existing, refused
from penjing.devices.single import Single
from penjing.devices.timed import Job, Timed
from penjing.errors import PenjingError
from penjing.network import Call


@dataclass(frozen=True)
class Eager(Timed):
    """PyTorch, operator by operator: what is timed is the exported program, `model.pt2`."""

    name: ClassVar[str] = "torch"
    summary: ClassVar[str] = "this machine's CPU through PyTorch, operator by operator, timed"
    package: ClassVar[str] = "torch"
    module: ClassVar[str] = "torch"
    form: ClassVar[Form] = "pt2"

    @property
    def runtime(self) -> str:
        """Its version, with what it was built for."""
        return f"torch {torch.__version__}"

    def export(
        self, model: nn.Module, call: Call, path: Path, *, calibration: Sequence[Call] = ()
    ) -> Artifact:
        """A `.pt2` file; `calibration` is not needed for it."""
        try:
            return to_program(model, call, path)
        except Exception as error:  # torch.export raises any type
            raise PenjingError(
                "PJ402",
                f"`{type(model).__name__}` has no exported program",
                because=own_words(error),
                tries=["--device cpu, which runs ONNX"],
            ) from error

    def job(self, artifact: Path, call: Call | None) -> Job:
        """An exported program, ready to run."""
        existing(artifact)
        try:
            program = torch.export.load(artifact)
            module = program.module()
            args, kwargs = (call.args, call.kwargs) if call else program.example_inputs or ((), {})
            with torch.inference_mode():
                module(*args, **kwargs)
        except Exception as error:  # torch raises any type
            raise refused("PyTorch", str(artifact), error) from error
        return _inferring(lambda: module(*args, **kwargs))

    def single(self, single: Single) -> Job:
        """The operator itself, called with its weights."""
        layer, x = single.layer(), torch.randn(single.shape)
        return _inferring(lambda: layer(x))

    def _timed(
        self, paths: Sequence[Path | str], call: Call | None, limit_s: float, *, warm: bool
    ) -> list[Measurement]:
        with _threads(self.threads):
            return super()._timed(paths, call, limit_s, warm=warm)

    def _time_singles(self, singles: Sequence[Single]) -> list[float]:
        with _threads(self.threads):
            return super()._time_singles(singles)


def _inferring(run: Callable[[], Any]) -> Job:
    def job() -> object:
        with torch.inference_mode():
            return run()

    return job


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads inside an operator; as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
