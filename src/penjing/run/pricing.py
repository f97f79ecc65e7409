"""What the planner is told that latency and file size will be."""

from __future__ import annotations

from typing import final

from penjing.devices import CostModel
from penjing.network import Network
from penjing.plan import Cost, Summed, operators
from penjing.plan.costs import Axes, Counts, Levels, Line


def latency(net: Network, model: CostModel, scale: float) -> Summed:
    """A device's cost model, operator by operator, scaled to what the original was measured to take."""
    return operators(net, lambda operator, counts: scale * model.operator_ms(operator, counts))


@final
class Affine(Cost):
    """Another cost times a slope, plus an offset: bytes of a file, from its parameters."""

    def __init__(self, inner: Cost, slope: float, offset: float) -> None:
        """Takes the three as they are."""
        self._inner, self._slope, self._offset = inner, slope, offset

    def total(self, counts: Counts) -> float:
        """The cost of a whole choice."""
        return self._offset + self._slope * self._inner.total(counts)

    def line(self, axes: Axes, levels: Levels, counts: Counts) -> Line:
        """The cost at each level, the offset left out: only differences mean something."""
        return self._slope * self._inner.line(axes, levels, counts)

    def shift(self, axes: Axes, levels: Levels, counts: Counts, *, moved: Axes, width: int) -> Line | None:
        """That of the other cost, times the slope."""
        found = self._inner.shift(axes, levels, counts, moved=moved, width=width)
        return None if found is None else self._slope * found

    def neighbours(self, axis: str) -> frozenset[str]:
        """Those of the other cost."""
        return self._inner.neighbours(axis)
