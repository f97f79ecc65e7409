"""Which clock a device on this machine is read by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from penjing.devices import Cpu, Timed
from penjing.devices.single import Single, linear
from penjing.devices.timed import Job
from penjing.network import Call


@dataclass(frozen=True)
class Waiting(Cpu):
    """Its jobs wait, as one does for another processor: next to no CPU time."""

    name: ClassVar[str] = "waiting"

    def job(self, artifact: Path, call: Call | None) -> Job:
        return lambda: time.sleep(0.002)

    def single(self, single: Single) -> Job:
        return self.job(Path(), None)


@dataclass(frozen=True)
class Elsewhere(Waiting):
    name: ClassVar[str] = "elsewhere"
    hosted: ClassVar[bool] = False


@pytest.mark.parametrize(("device", "basis"), [(Waiting(), "cpu"), (Elsewhere(), "wall")])
def test_work_of_another_processor_is_read_by_the_wall_alone(device: Timed, basis: str) -> None:
    (measured,) = device.measure("any", limit_s=0.2)
    assert measured.wall_ms > 1.2 * measured.cpu_ms  # of one thread, this counts as a busy machine
    assert measured.basis == basis
    assert measured.latency_ms == getattr(measured, f"{basis}_ms")
    one, other = device.compare("any", "any")
    assert one.basis == other.basis == basis


def test_operators_are_probed_by_the_same_clock() -> None:
    assert Waiting()._time_singles([linear(1, 1, 1)])[0] < 0.001
    assert Elsewhere()._time_singles([linear(1, 1, 1)])[0] > 0.0019
