"""The kit that checks a device: does what it says hold together?"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from penjing.devices import Carried, Device, Estimating, Measuring, Roofline, Timed
from penjing.devices.measurement import Provenance
from penjing.errors import PenjingError
from penjing.network import Call, trace

_WIDTHS = (16, 128)
_CLOSE = 0.35
"""What a network may seem to differ from itself by, on a busy machine."""


class DeviceFailure(AssertionError):  # noqa: N818 - a test that fails, not an error of the program
    """A device says something that cannot be."""


@dataclass(frozen=True)
class DeviceConformance:
    """What a check found.

    Attributes:
        provenance: how the device comes to know.
        narrow: latency of a small network in ms; None for a device that tells none.
        wide: of the same network, eight times as wide.
    """

    provenance: Provenance
    narrow: float | None
    wide: float | None


def check_device(device: Device) -> DeviceConformance:
    """Asks a device for what every device must tell, and holds it to what must be true of any.

    Its record survives JSON and names it. One that measures gives a wider network more time, a network as
    much as itself, refuses what is no artifact in its runtime's own words, and runs on no thread less than
    one. One that estimates has a band, prices operators that add up to the whole, and by a sheet no narrower
    network dearer. One whose tools read files tells of each what it says that it tells, of a wider network
    no less, and refuses what they cannot read.

    Args:
        device: any.

    Raises:
        DeviceFailure: something does not hold; the message says what.
    """
    record = device.record()
    _hold(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", device.name) is not None, f"`{device.name}` is no name")
    _hold(bool(device.summary), "it has no summary")
    _hold(record.get("name") == device.name, f"its record is of `{record.get('name')}`")
    _hold(bool(record.get("runtime")), "its record names no runtime")
    _hold(isinstance(record.get("threads"), int), "its record says nothing of threads")
    _hold(device.provenance in get_args(Provenance), f"`{device.provenance}` is no provenance")
    _hold(record.get("provenance") == device.provenance, "its record is of another provenance")
    _hold(json.loads(json.dumps(record)) == record, "its record does not survive JSON")
    narrow = wide = None
    if isinstance(device, Measuring):
        narrow, wide = _measured(device)
    elif isinstance(device, Estimating) and not isinstance(device, Carried):  # that is of one network alone
        narrow, wide = _estimated(device)
    return DeviceConformance(device.provenance, narrow, wide)


def _measured(device: Measuring) -> tuple[float, float]:
    if isinstance(device, Timed):
        _refuses("PJ406", "no threads", lambda: replace(device, threads=0))
    call = Call((torch.zeros(1, 8, 16, 16),), {})
    with tempfile.TemporaryDirectory(prefix="penjing-check-") as folder:
        names = [Path(folder) / f"{width}.{device.form}" for width in _WIDTHS]
        paths = [device.export(_network(w), call, name).path for w, name in zip(_WIDTHS, names, strict=True)]
        _read(device, *paths)
        small, large = (one.latency_ms for one in device.compare(*paths, call=call))
        first, second = (one.latency_ms for one in device.compare(paths[1], paths[1], call=call))
        broken = Path(folder) / f"broken{paths[0].suffix}"
        broken.write_bytes(b"no artifact")
        _refuses("PJ405", "a broken file", lambda: device.measure(broken, call=call))
        _refuses(
            "PJ404", "a file that is not there", lambda: device.measure(Path(folder) / "none", call=call)
        )
    _hold(
        0 < small < large, f"eight times the width takes {large:.3g} ms, and the network itself {small:.3g}"
    )
    _hold(abs(first / second - 1) < _CLOSE, f"the same network takes {first:.3g} and {second:.3g} ms")
    return small, large


def _read(device: Device, narrow: Path, wide: Path) -> None:
    """What the device's tools say of the files of two networks."""
    small, large = device.figures(narrow), device.figures(wide)
    _hold(set(small) == set(large) == set(device.reads), "it tells other figures than it says")
    _hold(all(small[q] <= large[q] for q in device.reads), "eight times the width needs less of it")


def _estimated(device: Estimating) -> tuple[float, float]:
    if device.reads:
        _files(device)
    net = trace(_network(_WIDTHS[1]), torch.zeros(1, 8, 16, 16))
    estimate = device.estimate(net)
    _hold(0 < estimate.band <= 1, f"its band is ±{estimate.band:.0%}")
    for quantity in estimate.quantities:
        parts = [estimate.operator(quantity, operator, {}) for operator in net.operators]
        _hold(min(parts) >= 0, f"an operator has a negative {quantity}")
        total = estimate.total(quantity, {})
        _hold(
            math.isclose(estimate.constant(quantity) + sum(parts), total, rel_tol=1e-9),
            f"its operators add up to another {quantity} than the whole",
        )
        for axis in net.prunable if isinstance(device, Roofline) else ():
            line = [estimate.total(quantity, {axis.name: kept}) for kept in range(1, axis.size + 1)]
            _hold(
                all(a <= b * (1 + 1e-9) for a, b in pairwise(line)),
                f"a narrower `{axis.name}` takes more {quantity}",
            )
    counts = {axis.name: max(1, axis.size * _WIDTHS[0] // _WIDTHS[1]) for axis in net.prunable}
    return estimate.total("latency", counts), estimate.total("latency", {})


def _files(device: Estimating) -> None:
    call = Call((torch.zeros(1, 8, 16, 16),), {})
    with tempfile.TemporaryDirectory(prefix="penjing-check-") as folder:
        names = [Path(folder) / f"{width}.{device.form}" for width in _WIDTHS]
        paths = [device.export(_network(w), call, name).path for w, name in zip(_WIDTHS, names, strict=True)]
        _read(device, *paths)
        broken = Path(folder) / f"broken.{device.form}"
        broken.write_bytes(b"no artifact")
        _refuses("PJ405", "a broken file", lambda: device.figures(broken))
        _refuses("PJ404", "a file that is not there", lambda: device.figures(Path(folder) / "none"))


def _network(width: int) -> nn.Module:
    layers = [nn.Conv2d(8, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)).eval()


def _refuses(code: str, what: str, ask: Callable[[], object]) -> None:
    try:
        ask()
    except PenjingError as error:
        _hold(error.code == code, f"it refuses {what} by {error.code}, and {code} says so")
        return
    raise DeviceFailure(f"it does not refuse {what}")


def _hold(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DeviceFailure(otherwise)
