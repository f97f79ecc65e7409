"""What devices on an NVIDIA GPU have in common, whatever runs on it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from penjing.devices.gpu import gpus
from penjing.devices.processor import cpu_name
from penjing.devices.timed import Timed

GPU: Final = "an NVIDIA GPU with its driver"


@dataclass(frozen=True)
class Nvidia(Timed):
    """A runtime on the first NVIDIA GPU of this machine.

    Inputs lie in the GPU's memory, outputs stay there, and a run is over when all of it is computed. Its time
    is that of the wall.
    """

    hosted: ClassVar[bool] = False

    @property
    def hardware(self) -> str:
        """The GPU, and the CPU that gives it its work: small networks wait for that."""
        return f"{gpus()[0]}, {cpu_name()}"

    @classmethod
    def missing(cls) -> str:
        """A GPU first: without one, no package helps."""
        return cls._unsuited() if gpus() else GPU

    @classmethod
    def install(cls) -> str:
        """A GPU first, likewise."""
        return cls._suited() if gpus() else f"{GPU}; there, {cls._suited()}"

    @classmethod
    @abstractmethod
    def _unsuited(cls) -> str:
        """What lacks in the runtime; "" where it reaches the GPU."""

    @classmethod
    @abstractmethod
    def _suited(cls) -> str:
        """What brings a runtime that does."""
