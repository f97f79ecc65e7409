"""How many bits of a fixed-point number stand before the point: from the values that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from penjing.devices.feeds import tensors
from penjing.network.call import Call


def fixed(largest: float, bits: int) -> str:
    """A signed type of so many bits that holds values up to `largest`, rounded and saturating."""
    whole = 1 if largest <= 0 else max(1, math.floor(math.log2(largest)) + 2)
    return f"ap_fixed<{bits},{whole},AP_RND,AP_SAT>"


def largest_values(network: fx.GraphModule, calls: Sequence[Call]) -> dict[str, float]:
    """The largest magnitude of every node's value over some calls."""
    watch = _Watch(network)
    with torch.no_grad():
        for call in calls:
            watch.run(*tensors(call).values())
    return watch.found


class _Watch(fx.Interpreter):
    """Runs a graph and remembers how large values become."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.found: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.numel():
            self.found[n.name] = max(self.found.get(n.name, 0.0), float(value.abs().max()))
        return value
