"""Bringing any way of cutting to the same measured latency: its one number is searched for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from penjing.devices import Cpu, to_onnx
from penjing.network import Call

NEAR = 0.05
"""How far below the limit a latency may be and still use it."""

MOST = 8
"""How many shares are measured."""

AIM = 0.975
"""Share of the limit that the next measurement is meant to hit."""

Measure = Callable[[nn.Module], float]


@contextmanager
def against(original: nn.Module, inputs: Tensor) -> Iterator[Measure]:
    """Measures exported files beside the original's; their latency is a share of its."""
    call = Call.of(original, inputs)
    with TemporaryDirectory() as scratch:
        whole, part = Path(scratch) / "whole.onnx", Path(scratch) / "part.onnx"
        to_onnx(original, call, whole)

        def measure(model: nn.Module) -> float:
            to_onnx(model, call, part)
            before, after = Cpu().compare(whole, part, call=call)
            return after.latency_ms / before.latency_ms

        yield measure


def closest(cut: Callable[[float], nn.Module], measure: Measure, limit: float) -> tuple[float, float] | None:
    """The share at which a network is within `limit` and at most `NEAR` below, with its latency.

    Where there is none, the one that comes nearest from below; None if every network is above. The next
    share is where a straight line between the nearest ones on either side meets the aim.

    Args:
        cut: the network that keeps a share, from 0 to 1; more of it takes longer.
        measure: its latency, asked once for every shape.
        limit: share of the original's latency.
    """
    known: dict[tuple[Any, ...], float] = {}
    best: tuple[float, float] | None = None
    low, high = (0.0, 0.0), (1.0, 1.0)
    for _ in range(MOST):
        straight = (AIM * limit - low[1]) / max(high[1] - low[1], 1e-9)
        share = low[0] + min(max(straight, 0.15), 0.85) * (high[0] - low[0])
        model = cut(share)
        shapes = tuple(tuple(tensor.shape) for tensor in model.parameters())
        if shapes not in known:
            known[shapes] = measure(model)
        latency = known[shapes]
        if latency <= limit and (best is None or latency > best[1]):
            best = share, latency
        if best and best[1] >= limit * (1 - NEAR):
            break
        low, high = ((share, latency), high) if latency <= limit else (low, (share, latency))
    return best
