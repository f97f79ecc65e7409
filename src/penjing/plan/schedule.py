"""How a budget is spread over rounds: what a network may cost on the way from the original to the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

Spacing = Literal["geometric", "linear", "cubic"]


def _geometric(before: float, target: float, done: float) -> float:
    """Every round takes the same share of what is left, as in Frankle & Carbin 2019, arXiv:1803.03635."""
    return float(before * (target / before) ** done) if before > 0 else target


def _linear(before: float, target: float, done: float) -> float:
    """Every round takes the same amount."""
    return before + (target - before) * done


def _cubic(before: float, target: float, done: float) -> float:
    """Much at first, little at last: Zhu & Gupta 2017 (AGP), arXiv:1710.01878, eq. 1, of costs."""
    return float(target + (before - target) * (1 - done) ** 3)


SPACINGS: Mapping[str, Callable[[float, float, float], float]] = MappingProxyType(
    {"geometric": _geometric, "linear": _linear, "cubic": _cubic}
)
"""By name: (before, target, share of the rounds that are done) -> limit."""


def spaced(before: float, target: float, done: float, spacing: Spacing) -> float:
    """What a network may cost when a share of all rounds is done.

    Args:
        before: of the original; a target above it holds at once.
        target: of the last round, in the same unit.
        done: from 0 to 1; at 1 the limit is the target itself.
        spacing: a key of `SPACINGS`.
    """
    if done >= 1 or target >= before:
        return target
    return max(target, SPACINGS[spacing](before, target, done))
