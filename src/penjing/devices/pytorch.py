"""Devices that run inside of PyTorch, in this process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from penjing.devices.export import Artifact, own_words
from penjing.devices.form import Form
from penjing.devices.measurement import Measurement
from penjing.devices.nodes import NodeTime
from penjing.devices.program import to_program
from penjing.devices.program_nodes import profiled
from penjing.devices.refusal import existing, refused
from penjing.devices.single import Single
from penjing.devices.timed import Job, Timed
from penjing.errors import PenjingError
from penjing.network import Call


@dataclass(frozen=True)
class PyTorch(Timed):
    """A way of running networks that PyTorch itself has."""

    package: ClassVar[str] = "torch"
    module: ClassVar[str] = "torch"

    @property
    def runtime(self) -> str:
        """Its version, with what it was built for."""
        return f"torch {torch.__version__}"

    def _timed(
        self,
        paths: Sequence[Path | str],
        call: Call | None,
        limit_s: float,
        *,
        warm: bool,
        order: Sequence[int] | None = None,
    ) -> list[Measurement]:
        with threads(self.threads):
            return super()._timed(paths, call, limit_s, warm=warm, order=order)

    def _time_singles(self, singles: Sequence[Single]) -> list[float]:
        with threads(self.threads):
            return super()._time_singles(singles)


@dataclass(frozen=True)
class Programs(PyTorch):
    """PyTorch, operator by operator: what is timed is the exported program, `model.pt2`.

    Attributes:
        place: what PyTorch calls the processor.
    """

    form: ClassVar[Form] = "pt2"
    place: ClassVar[str]

    @abstractmethod
    def _wait(self) -> None:
        """Until the processor has computed all that it was given."""

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
        """An exported program, ready to run on inputs that lie where it runs."""
        existing(artifact)
        try:
            program = torch.export.load(artifact)
            given = call or Call(*(program.example_inputs or ((), {})))
            module = move_to_device_pass(program, self.place).module()
            placed = given.map(lambda leaf: leaf.to(self.place) if isinstance(leaf, Tensor) else leaf)
            job = self._waited(lambda: placed.run(module))
            job()
        except Exception as error:  # torch raises any type
            raise refused("PyTorch", str(artifact), error) from error
        return job

    def profile(
        self, artifact: Path | str, *, call: Call | None = None, seconds: float = 0.5
    ) -> list[NodeTime]:
        """Times every operator, where they run one after another on the processor that calls them.

        Raises:
            PenjingError: PJ404 or PJ405, as for `measure`.
        """
        if not self.hosted:
            return []
        existing(Path(artifact))
        try:
            program = torch.export.load(artifact)
            given = call or Call(*(program.example_inputs or ((), {})))
            with threads(self.threads):
                return profiled(program.module(), given, seconds)
        except Exception as error:  # torch raises any type
            raise refused("PyTorch", str(artifact), error) from error

    def single(self, single: Single) -> Job:
        """The operator itself, called with its weights."""
        layer, x = single.layer().to(self.place), torch.randn(single.shape).to(self.place)
        return self._waited(lambda: layer(x))

    def _waited(self, run: Callable[[], Any]) -> Job:
        def job() -> object:
            with torch.inference_mode():
                result = run()
            self._wait()
            return result

        return job


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads inside an operator; as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
