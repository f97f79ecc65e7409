"""An NVIDIA GPU of this machine, through PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from penjing.devices.measurement import Measurement
from penjing.devices.nvidia import Nvidia
from penjing.devices.pytorch import Programs
from penjing.devices.single import Single
from penjing.network import Call


@dataclass(frozen=True)
class TorchCuda(Nvidia, Programs):
    """PyTorch on an NVIDIA GPU, operator by operator, in float32.

    Left to itself it multiplies in TF32, which is another function. Nobody has run this device on a GPU yet:
    what is tested is everything but that.
    """

    name: ClassVar[str] = "torch-cuda"
    summary: ClassVar[str] = (
        "an NVIDIA GPU through PyTorch, operator by operator, timed; not yet run on hardware"
    )
    place: ClassVar[str] = "cuda"

    @property
    def runtime(self) -> str:
        """With the CUDA that it was built for."""
        return f"{super().runtime}, CUDA {torch.version.cuda}"

    @classmethod
    def _unsuited(cls) -> str:
        return "" if torch.cuda.is_available() else "a PyTorch that reaches the GPU"

    @classmethod
    def _suited(cls) -> str:
        return "a torch that is built for the driver's CUDA: https://pytorch.org/get-started/locally"

    def _wait(self) -> None:
        torch.cuda.synchronize()

    def _timed(
        self,
        paths: Sequence[Path | str],
        call: Call | None,
        limit_s: float,
        *,
        warm: bool,
        order: Sequence[int] | None = None,
    ) -> list[Measurement]:
        with _float32():
            return super()._timed(paths, call, limit_s, warm=warm, order=order)

    def _time_singles(self, singles: Sequence[Single]) -> list[float]:
        with _float32():
            return super()._time_singles(singles)


@contextmanager
def _float32() -> Iterator[None]:
    """Products of float32 numbers in float32; as before afterwards."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
