"""The devices there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from penjing.devices.carried import Carried
from penjing.devices.cpu import Cpu
from penjing.devices.cuda import Cuda
from penjing.devices.device import Device
from penjing.devices.eager import Eager
from penjing.devices.ethos import CONFIGS, EthosU
from penjing.devices.executorch import ExecuTorch
from penjing.devices.hls import Hls4ml
from penjing.devices.ideal import Macs, Params
from penjing.devices.inductor import Inductor
from penjing.devices.litert import LiteRt
from penjing.devices.micro import Micro
from penjing.devices.openvino import OpenVino
from penjing.devices.remote import Ssh
from penjing.devices.roofline import SHEETS, Roofline
from penjing.devices.sheet import read_sheet
from penjing.devices.spec import check_kinds, split
from penjing.devices.torch_cuda import TorchCuda
from penjing.errors import PenjingError

REMOTE: Final = "ssh:"
"""What the name of another machine begins with."""


def _sheet(name: str) -> Roofline:
    return Roofline(read_sheet(SHEETS / f"{name}.toml"))


DEVICES: Mapping[str, Callable[..., Device]] = MappingProxyType(
    {
        "cpu": Cpu,
        "openvino": OpenVino,
        "litert": LiteRt,
        "executorch": ExecuTorch,
        "torch": Eager,
        "inductor": Inductor,
        "cuda": Cuda,
        "torch-cuda": TorchCuda,
        "rtx3090": partial(_sheet, "rtx3090"),
        "jetson-orin": partial(_sheet, "jetson-orin"),
        "phone-cpu": partial(_sheet, "phone-cpu"),
        "cortex-m7": partial(_sheet, "cortex-m7"),
        "npu": partial(_sheet, "npu"),
        "cortex-m7-tflite-micro": partial(Micro, read_sheet(SHEETS / "cortex-m7.toml")),
        **{config: partial(EthosU, config) for config in CONFIGS},
        "hls4ml": Hls4ml,
        "macs": Macs,
        "params": Params,
    }
)
"""Every device by its name; called, it makes one."""


def get(name: str, **options: Any) -> Device:
    """The device called `name`.

    Args:
        name: as in `DEVICES`, with options or without: `hls4ml:bits=12,multipliers=128`; `ssh:HOST`; the
            path of a sheet, `*.toml`; or that of a calibration, `*.json`.
        options: of the device, e.g. `threads=2` for `cpu`.

    Raises:
        PenjingError: PJ401, there is no such device; PJ406, it does not take these options; PJ409, its
            runtime is not installed; PJ410 or PJ412, the file is no sheet, or no calibration.
    """
    name = str(name)  # a sheet may come as a path
    make: Callable[..., Device] | None = DEVICES.get(name.partition(":")[0])
    if make is not None:
        spec = name
        name, given = split(spec)
        for key in given.keys() & options.keys():
            if given[key] != options[key]:
                raise PenjingError("PJ406", f"`{spec}` says what {key} is, and {key}={options[key]}, too")
        options = {**options, **given}
        check_kinds(make, name, options)
    elif name.startswith(REMOTE):
        make = partial(Ssh, host=name.removeprefix(REMOTE))
    elif name.endswith(".json"):
        make = partial(Carried.read, Path(name))
    elif name.endswith(".toml"):
        make = partial(Roofline.read, Path(name))
    if make is None:
        near = get_close_matches(name, DEVICES, n=3, cutoff=0)
        raise PenjingError(
            "PJ401",
            f"there is no device `{name}`",
            tries=[*(f"`{other}`" for other in near), "a sheet of your own: `my.toml`", "penjing devices"],
        )
    try:
        return make(**options)
    except TypeError as error:
        raise PenjingError(
            "PJ406", f"device `{name}` does not take {', '.join(options)}", because=str(error)
        ) from error


def describe() -> list[dict[str, Any]]:
    """One row per device for `penjing devices`: what it says, how it knows, and whether it can be used here.

    `usable` says whether it is there; `install` is the command that brings it where it is not.
    """
    return [_row(name, make) for name, make in DEVICES.items()] + [_elsewhere()]


def _elsewhere() -> dict[str, Any]:
    """The row of other machines, whichever they are."""
    known = {"quantity": Ssh.quantity, "provenance": Ssh.provenance, "summary": Ssh.summary}
    usable = Ssh.installed()
    return {
        "name": f"{REMOTE}HOST",
        **known,
        "runtime": "onnxruntime there",
        "threads": 1,
        "hardware": "",
        "error": None,
        "usable": usable,
        "install": "" if usable else Ssh.install(),
    }


def made_by(make: Callable[..., Device]) -> type[Device] | None:
    """The class that an entry of `DEVICES` makes a device of; None where only calling it tells."""
    kind = make.func if isinstance(make, partial) else make
    return kind if isinstance(kind, type) and issubclass(kind, Device) else None


def _row(name: str, make: Callable[..., Device]) -> dict[str, Any]:
    kind = made_by(make)
    if kind is not None and not kind.installed():
        summary = vars(kind).get("summary")  # of some, only a device itself can tell
        return {
            "name": name,
            "quantity": kind.quantity,
            "provenance": kind.provenance,
            "summary": summary if isinstance(summary, str) else f"needs {kind.package}",
            "runtime": kind.package,
            "threads": 0,
            "hardware": "",
            "error": None,
            "usable": False,
            "install": kind.install(),
        }
    device = make()
    record = device.record()
    return {
        "name": name,
        "quantity": device.quantity,
        "provenance": device.provenance,
        "summary": device.summary,
        "runtime": record["runtime"],
        "threads": record["threads"],
        "hardware": record.get("cpu", ""),
        "error": record.get("error"),
        "usable": True,
        "install": "",
    }
