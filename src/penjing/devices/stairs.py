"""The staircase of a device, measured: which widths its operators pad to, and which they punish."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from scipy.optimize import nnls

from penjing.devices.single import Single, convolution, depthwise, linear

_STEPS: Final = (1, 2, 4, 8, 16, 32)
_WIDTHS: Final = (36, 40, 44, 48, 52, 56, 64, 68, 76, 80)
_ODD_WIDTHS: Final = (33, 36, 40, 42, 48, 50, 52, 56, 64, 66)
_CLEAR: Final = 0.75
"""A step is believed where it leaves at most this share of the error that no step leaves."""


@dataclass(frozen=True)
class Stairs:
    """Widths that a device works in; 1 where it has no such step.

    Attributes:
        conv_out: output channels of a convolution are padded to a multiple of this.
        conv_in: its input channels likewise.
        conv_even: a convolution whose input channels are no multiple of this takes a slower way.
        depthwise_even: a depthwise convolution of a number of channels that is no multiple of this, likewise.
        linear_out: output features of a linear layer are padded to a multiple of this.
    """

    conv_out: int = 1
    conv_in: int = 1
    conv_even: int = 1
    depthwise_even: int = 1
    linear_out: int = 1

    def record(self) -> dict[str, int]:
        """As data; `Stairs(**record)` is its inverse."""
        return asdict(self)


def probe(time_all: Callable[[Sequence[Single]], Sequence[float]]) -> Stairs:
    """Measures single operators at neighbouring widths and reads the steps off.

    Args:
        time_all: times single-operator models against one another, in any unit.
    """

    def padded(widths: Sequence[int], build: Callable[[int], Single]) -> int:
        return step(widths, time_all([build(width) for width in widths]))

    def even(padding: int, build: Callable[[int], Single]) -> int:
        return evenness(_ODD_WIDTHS, time_all([build(width) for width in _ODD_WIDTHS]), padding=padding)

    conv_out = padded(_WIDTHS, lambda width: convolution(64, width, size=28, kernel=3))
    conv_in = padded(_WIDTHS, lambda width: convolution(width, 64, size=28, kernel=3))
    return Stairs(
        conv_out=conv_out,
        conv_in=conv_in,
        conv_even=even(conv_in, lambda width: convolution(width, 64, size=28, kernel=3)),
        depthwise_even=even(conv_out, lambda width: depthwise(width, size=28, kernel=3)),
        linear_out=padded(_WIDTHS, lambda width: linear(128, 256, width)),
    )


def ceil_to(width: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `width`."""
    return -(-width // multiple) * multiple


def step(widths: Sequence[int], times: Sequence[float]) -> int:
    """The multiple that widths seem to be padded to: times lie on a line over the padded widths.

    Returns:
        1 where no step explains the times clearly better than the plain widths do.
    """
    return _clearest({s: _misfit([[1.0, ceil_to(width, s)] for width in widths], times) for s in _STEPS})


def evenness(widths: Sequence[int], times: Sequence[float], *, padding: int = 1) -> int:
    """The multiple that a width must be of to be spared a dearer way of computing.

    Args:
        widths: some of them odd.
        times: of these widths, in any unit.
        padding: what the others may be padded to; without it, a step of padding reads as a surcharge.

    Returns:
        1 where none explains the times clearly better than a line. A surcharge is never negative.
    """
    errors = {}
    for size in _STEPS:
        odd = [float(width % size != 0) for width in widths]
        errors[size] = min(
            _misfit(
                [
                    [1.0, width if other else ceil_to(width, pad), other, width * other]
                    for width, other in zip(widths, odd, strict=True)
                ],
                times,
            )
            for pad in {1, padding}
        )
    return _clearest(errors)


def _misfit(rows: Sequence[Sequence[float]], times: Sequence[float]) -> float:
    """Root mean square of the relative errors of the best non-negative combination of the columns."""
    target = np.asarray(times, dtype=np.float64)
    scaled = np.asarray(rows, dtype=np.float64) / target[:, None]
    _, distance = nnls(scaled / scaled.max(axis=0, initial=1e-12), np.ones(len(target)))
    return float(distance) / math.sqrt(len(target))


def _clearest(errors: Mapping[int, float]) -> int:
    best = min(errors, key=lambda size: (errors[size], size))
    return best if errors[best] <= _CLEAR * errors[1] else 1
