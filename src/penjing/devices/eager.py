"""The CPU of this machine, through PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from penjing.devices.pytorch import Programs


@dataclass(frozen=True)
class Eager(Programs):
    """PyTorch on this machine's CPU, operator by operator."""

    name: ClassVar[str] = "torch"
    summary: ClassVar[str] = "this machine's CPU through PyTorch, operator by operator, timed"
    place: ClassVar[str] = "cpu"

    def _wait(self) -> None:
        """A CPU returns when it is done."""
