"""Figures as people read them: a few digits and a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:.0f} {unit}"
    return f"{value:.0f}"


def _bytes(value: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:.0f} {unit}"
    return f"{value:.0f} B"


def _milliseconds(value: float) -> str:
    if value >= 1000:
        return f"{value / 1000:.3g} s"
    return f"{value:.3g} ms" if value >= 1 else f"{value * 1000:.3g} us"


def _share(value: float) -> str:
    return f"{value:.3g}x"


FORMATS: Mapping[str, Callable[[float], str]] = MappingProxyType(
    {
        "latency": _milliseconds,
        "macs": _count,
        "params": _count,
        "size": _bytes,
        "memory": _bytes,
        "units": _share,
    }
)
"""How each quantity of a budget is written."""


def written(quantity: str, value: float) -> str:
    """`value` of a budget's quantity with its unit."""
    return FORMATS[quantity](value)
