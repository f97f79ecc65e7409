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


@dataclass(frozen=True)
class Spoilt(Elsewhere):
    """Where a job takes three times as long in its first run after another's."""

    name: ClassVar[str] = "spoilt"

    def job(self, artifact: Path, call: Call | None) -> Job:
        def run() -> None:
            before, _LAST[:] = list(_LAST), [artifact]
            time.sleep(0.002 if before == [artifact] else 0.006)

        return run


_LAST: list[Path] = []


def test_networks_beside_one_take_what_they_take_where_each_is_compared_with_it() -> None:
    device = Spoilt()
    compared = [device.compare("one", other)[1].latency_ms for other in ("a", "b")]
    one, *others = device.beside("one", ["a", "b"], limit_s=0.5)
    assert [other.latency_ms for other in others] == pytest.approx(compared, rel=0.2)
    assert one.latency_ms == pytest.approx(compared[0], rel=0.2)
    alone = device.measure(["one", "a", "b"], limit_s=0.5)
    assert all(
        warm.latency_ms < 0.7 * other.latency_ms for warm, other in zip(alone, (one, *others), strict=True)
    )
    assert one.runs == sum(other.runs for other in others)


def test_operators_are_probed_by_the_same_clock() -> None:
    assert Waiting()._time_singles([linear(1, 1, 1)])[0] < 0.001
    assert Elsewhere()._time_singles([linear(1, 1, 1)])[0] > 0.0019
