"""Figures as people read them: three digits and a unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

_COUNTS: Final = ((1e9, " G"), (1e6, " M"), (1e3, " K"), (1.0, ""))
_BYTES: Final = ((1e9, " GB"), (1e6, " MB"), (1e3, " KB"), (1.0, " B"))
_MILLIJOULES: Final = ((1e3, " J"), (1.0, " mJ"), (1e-3, " uJ"))
_MILLISECONDS: Final = ((1e3, " s"), (1.0, " ms"), (1e-3, " us"))

_ROUNDED: Final = 0.9995
"""From this share of a unit on, three digits make a whole one of it."""


def _scaled(value: float, scale: tuple[tuple[float, str], ...]) -> str:
    size, unit = next(((size, unit) for size, unit in scale if value >= _ROUNDED * size), scale[-1])
    return f"{value / size:.3g}{unit}"


def _share(value: float) -> str:
    return f"{value:.3g}x"


FORMATS: Mapping[str, Callable[[float], str]] = MappingProxyType(
    {
        "latency": partial(_scaled, scale=_MILLISECONDS),
        "cycles": partial(_scaled, scale=_COUNTS),
        "energy": partial(_scaled, scale=_MILLIJOULES),
        "macs": partial(_scaled, scale=_COUNTS),
        "params": partial(_scaled, scale=_COUNTS),
        "size": partial(_scaled, scale=_BYTES),
        "memory": partial(_scaled, scale=_BYTES),
        "units": _share,
    }
)
"""How each quantity of a budget is written."""


def written(quantity: str, value: float) -> str:
    """`value` of a budget's quantity with its unit."""
    return FORMATS[quantity](value) if quantity in FORMATS else f"{value:.4g}"


def enough(quantity: str, value: float) -> str:
    """The smallest bound of three digits that allows `value`, as a user would write it: `macs=32.6K`."""
    if value > 0:
        digit = 10.0 ** (math.floor(math.log10(value)) - 2)
        value = math.ceil(value / digit - 1e-9) * digit
    return f"{quantity}={written(quantity, value).replace(' ', '')}"
