from __future__ import annotations

import pytest

from penjing.devices import DEVICES, Cpu, describe, get
from penjing.devices.gpu import gpus
from penjing.errors import PenjingError


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_carries_the_name_it_stands_under(name: str) -> None:
    if name in ("cuda", "torch-cuda") and not gpus():
        pytest.skip("there is no GPU")
    device = get(name)
    assert device.name == name
    assert device.record()["name"] == name
    assert device.record()["provenance"] == device.provenance


def test_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        DEVICES["mine"] = Cpu  # type: ignore[index]


def test_get_passes_options_on() -> None:
    assert get("cpu", threads=2) == Cpu(threads=2)


def test_get_names_the_three_nearest_devices() -> None:
    with pytest.raises(PenjingError, match="`mac`") as caught:
        get("mac")
    assert caught.value.code == "PJ401"
    assert caught.value.tries[0] == "`macs`"
    assert len([way for way in caught.value.tries if way.startswith("`")]) == 3


def test_get_refuses_options_that_a_device_has_not() -> None:
    with pytest.raises(PenjingError, match="threads") as caught:
        get("macs", threads=2)
    assert caught.value.code == "PJ406"


def test_describe_has_a_row_for_every_device() -> None:
    rows = describe()
    assert [row["name"] for row in rows] == [*DEVICES, "ssh:HOST"]
    assert all(row["summary"] and row["runtime"] and row["provenance"] and row["quantity"] for row in rows)
