"""Device sheets: what is known of hardware that is not at hand, as a small TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.errors import PenjingError

Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotBelow = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Multiple = Annotated[int, Field(ge=1)]

ELEMENT_BYTES: Final = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes of a number, by precision."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Compute(_Part):
    """How quickly it multiplies.

    Attributes:
        gmacs_per_s: multiply-accumulates at its peak, in 1e9 per second, at the sheet's precision.
        efficiency: the share of the peak that kernels reach on large convolutions and matrix products.
        depthwise_efficiency: likewise on depthwise convolutions, which reuse little; None for the same.
        clock_mhz: cycles in a microsecond, by which latencies are told in cycles, too; None to tell none.
    """

    gmacs_per_s: Above
    efficiency: Share = 1.0
    depthwise_efficiency: Share | None = None
    clock_mhz: Above | None = None


class Memory(_Part):
    """How quickly it moves numbers, and how many it holds.

    Attributes:
        gb_per_s: to and from its main memory, in 1e9 bytes per second.
        cache_kb: of the nearest memory that holds activations, or weights, from one operator to the next.
        cache_gb_per_s: to and from that; needed where `cache_kb` is given.
        ram_kb: room for activations; None where there is always enough.
        flash_kb: room for the artifact; likewise.
    """

    gb_per_s: Above
    cache_kb: NotBelow = 0.0
    cache_gb_per_s: Above | None = None
    ram_kb: Above | None = None
    flash_kb: Above | None = None


class Overhead(_Part):
    """What is paid whatever the widths are, in microseconds.

    Attributes:
        call_us: once a call of the network.
        operator_us: once an operator.
    """

    call_us: NotBelow = 0.0
    operator_us: NotBelow = 0.0


class Align(_Part):
    """Multiples that its operators pad to; as `Stairs`."""

    conv_out: Multiple = 1
    conv_in: Multiple = 1
    conv_even: Multiple = 1
    depthwise_even: Multiple = 1
    linear_out: Multiple = 1


class Energy(_Part):
    """What work takes.

    Attributes:
        pj_per_mac: picojoules of a multiply-accumulate.
        pj_per_byte: of a byte to or from main memory.
        pj_per_cache_byte: of a byte to or from the cache.
        static_w: watts that it takes whatever it does.
    """

    pj_per_mac: NotBelow
    pj_per_byte: NotBelow
    pj_per_cache_byte: NotBelow = 0.0
    static_w: NotBelow = 0.0


class Sheet(_Part):
    """Everything that an estimate is made of.

    Attributes:
        name: of the device.
        summary: one line.
        source: where the figures come from.
        error: relative half-width of the band around its estimates.
        precision: of the arithmetic that the figures hold for.
        compute: how quickly it multiplies.
        memory: how quickly it moves numbers.
        overhead: what is paid whatever the widths are.
        align: multiples that it pads to.
        energy: None where nothing is known of it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    summary: str
    source: str
    error: Share
    precision: Literal["float32", "float16", "int8"] = "float32"
    compute: Compute
    memory: Memory
    overhead: Overhead = Overhead()
    align: Align = Align()
    energy: Energy | None = None


def read_sheet(path: Path) -> Sheet:
    """A sheet from its file.

    Raises:
        PenjingError: PJ410, there is none, or a figure is missing, negative or unknown.
    """
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _refused(path, str(error)) from error
    try:
        sheet = Sheet.model_validate(record)
    except ValidationError as error:
        raise _refused(path, "; ".join(_said(one) for one in error.errors()[:3])) from error
    if sheet.memory.cache_kb and sheet.memory.cache_gb_per_s is None:
        raise _refused(path, "`memory.cache_gb_per_s` is missing, and `memory.cache_kb` is not")
    return sheet


_PARTS: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {"compute": Compute, "memory": Memory, "overhead": Overhead, "align": Align, "energy": Energy}
)


def _said(error: Any) -> str:
    """One complaint of pydantic in the words of a sheet."""
    name = ".".join(map(str, error["loc"]))
    match error["type"]:
        case "missing":
            return f"`{name}` is missing"
        case "extra_forbidden":
            *outer, last = error["loc"]
            part: type[BaseModel] = _PARTS[str(outer[0])] if outer else Sheet
            near = get_close_matches(str(last), part.model_fields, n=1)
            return f"`{name}` is unknown" + (f": did you mean `{near[0]}`?" if near else "")
        case _:
            return f"`{name}` is {error['input']!r:.40}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _refused(path: Path, because: str) -> PenjingError:
    return PenjingError(
        "PJ410",
        f"`{path}` is no device sheet",
        because=because,
        tries=["docs/how-to/describe-a-device.md", "penjing devices"],
    )
