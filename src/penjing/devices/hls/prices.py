"""What hls4ml would make of a network of any widths, without asking it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from penjing.devices.fusion import folded
from penjing.devices.hls.folding import Folded
from penjing.devices.terms import VIEWS, kind
from penjing.network import Network, Operator


class HlsPrices:
    """Latency of one network at any widths: `Prices`.

    Layers run at the same time, each on what the one before has streamed to it. The sum of what each takes
    alone is the longest that one input can take; the longest of them is the shortest.
    """

    vectorised: bool = False
    quantities: tuple[str, ...] = ("latency",)

    def __init__(self, net: Network, multipliers: int, clock_mhz: float, band: float) -> None:
        """Nothing is computed yet."""
        self._net, self._multipliers, self._clock_mhz = net, multipliers, clock_mhz
        self.band = band
        self._folded = folded(net.operators)

    def total(self, quantity: str, counts: Mapping[str, int]) -> float:
        """Milliseconds of the whole network when each axis in `counts` keeps that many units."""
        return sum(self.operator(quantity, operator, counts) for operator in self._net.operators)

    def figures(self, counts: Mapping[str, int]) -> dict[str, float]:
        """The latency."""
        return {"latency": self.total("latency", counts)}

    def constant(self, quantity: str) -> float:
        """Nothing is paid but by operators."""
        return 0.0

    def operator(self, quantity: str, operator: Operator, counts: Mapping[str, Any]) -> float:
        """One operator's part."""
        if not self.alone(operator) or not operator.runs_at(counts):
            return 0.0
        return self.cycles(operator, counts) / (self._clock_mhz * 1e3)

    def alone(self, operator: Operator) -> bool:
        """Whether it is a layer of its own."""
        return operator.name not in self._folded and kind(operator) not in VIEWS

    def cycles(self, operator: Operator, counts: Mapping[str, int]) -> int:
        """Of one layer: a cycle for every position, and many where it multiplies."""
        output = operator.outputs_at(counts)[0]
        weight = operator.inputs_at(counts).get("weight")
        name = kind(operator)
        if weight is None or not (name == "linear" or name.startswith("conv")):
            return math.prod((*output[:1], *output[2:]))
        outs, positions = weight[0], math.prod(output) // max(1, weight[0])
        return Folded.within(math.prod(weight[1:]), outs, positions, self._multipliers).cycles
