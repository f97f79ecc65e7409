"""The kit passes every device that comes along, and fails those that lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from penjing.devices import DEVICES, Cpu, Device, Estimate, Roofline, get
from penjing.devices.measurement import Provenance
from penjing.devices.table import made_by
from penjing.devices.timed import Job
from penjing.network import Call, Network, Operator
from penjing.testing import DeviceFailure, check_device

COMPILED = ("inductor", "hls4ml")
"""Each network goes through a C++ compiler."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in COMPILED else name for name in DEVICES]
)
def test_devices_that_come_along_conform(name: str) -> None:
    make = DEVICES[name]
    kind = made_by(make)
    if kind is not None and not kind.installed():
        pytest.skip(kind.install())
    device = get(name)
    found = check_device(device)
    assert found.provenance == device.provenance
    if device.quantity == "latency":
        assert found.narrow is not None
        assert found.wide is not None
        assert 0 < found.narrow < found.wide


def test_device_that_runs_anything_is_found_out() -> None:
    @dataclass(frozen=True)
    class Anything(Cpu):
        def job(self, artifact: Path, call: Call | None) -> Job:
            return lambda: sum(range(1000))

    with pytest.raises(DeviceFailure):
        check_device(Anything())


def test_device_that_misnames_itself_is_found_out() -> None:
    @dataclass(frozen=True)
    class Misnamed(Cpu):
        def record(self) -> dict[str, Any]:
            return {**super().record(), "name": "another"}

    with pytest.raises(DeviceFailure, match="its record is of `another`"):
        check_device(Misnamed())


def test_device_of_unknown_provenance_is_found_out() -> None:
    class Guess(Device):
        name: ClassVar[str] = "guess"
        quantity: ClassVar[str] = "latency"
        provenance: ClassVar[Provenance] = "guessed"  # type: ignore[assignment]
        summary: ClassVar[str] = "guesses"

        def record(self) -> dict[str, Any]:
            return {"name": "guess", "runtime": "a guess", "threads": 1, "provenance": "guessed"}

    with pytest.raises(DeviceFailure, match="no provenance"):
        check_device(Guess())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda honest, counts: 2 * honest, "add up to another latency"),
        (lambda honest, counts: honest - 100 * sum(counts.values()), "takes more latency"),
    ],
)
def test_estimates_that_do_not_hold_together_are_found_out(wrong: Any, said: str) -> None:
    class Lying(Estimate):
        def total(self, quantity: str, counts: Mapping[str, int]) -> float:
            return float(wrong(super().total(quantity, counts), counts))

        def operator(self, quantity: str, operator: Operator, counts: Mapping[str, int]) -> float:
            return super().operator(quantity, operator, counts)

    @dataclass(frozen=True)
    class Liar(Roofline):
        def estimate(self, net: Network) -> Estimate:
            return Lying(self.sheet, net)

    phone = get("phone-cpu")
    assert isinstance(phone, Roofline)
    with pytest.raises(DeviceFailure, match=said):
        check_device(Liar(phone.sheet))
