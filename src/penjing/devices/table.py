"""The devices there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from penjing.devices.cpu import Cpu
from penjing.devices.device import Device
from penjing.devices.ideal import Macs, Params
from penjing.errors import PenjingError

DEVICES: Mapping[str, Callable[..., Device]] = MappingProxyType({"cpu": Cpu, "macs": Macs, "params": Params})
"""Every device by its name; called, it makes one."""


def get(name: str, **options: Any) -> Device:
    """The device called `name`.

    Args:
        name: as in `DEVICES`.
        options: of the device, e.g. `threads=2` for `cpu`.

    Raises:
        PenjingError: PJ401, there is no such device; PJ406, it does not take these options.
    """
    if name not in DEVICES:
        near = get_close_matches(name, DEVICES, n=3, cutoff=0)
        raise PenjingError(
            "PJ401",
            f"there is no device `{name}`",
            tries=[*(f"`{other}`" for other in near), "penjing devices"],
        )
    try:
        return DEVICES[name](**options)
    except TypeError as error:
        raise PenjingError(
            "PJ406", f"device `{name}` does not take {', '.join(options)}", because=str(error)
        ) from error


def describe() -> list[dict[str, Any]]:
    """One row per device for `penjing devices`: name, what it says, how it knows, and what it runs on."""
    rows = []
    for name, make in DEVICES.items():
        device = make()
        record = device.record()
        rows.append(
            {
                "name": name,
                "quantity": device.quantity,
                "provenance": device.provenance,
                "summary": device.summary,
                "runtime": record["runtime"],
                "threads": record["threads"],
                "hardware": record.get("cpu", ""),
            }
        )
    return rows
