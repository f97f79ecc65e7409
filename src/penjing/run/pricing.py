"""What the planner is told that latency and file size will be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import final

import numpy as np

from penjing.devices import CostModel
from penjing.network import Network
from penjing.plan import Cost
from penjing.plan.costs import Counts, Line


@final
class Latency(Cost):
    """A device's cost model, scaled so that the original takes what it was measured to take."""

    def __init__(self, net: Network, model: CostModel, scale: float) -> None:
        """Reads off which axes meet in an operator: only their lines depend on one another."""
        self._model, self._scale = model, scale
        self._near: dict[str, set[str]] = defaultdict(set)
        for operator in net.operators:
            for name in operator.axes:
                self._near[name] |= operator.axes

    def total(self, counts: Counts) -> float:
        """Predicted ms."""
        return self._scale * self._model.latency_ms(counts)

    def line(self, axes: Sequence[str], levels: Sequence[int], counts: Counts) -> Line:
        """Predicted ms at each level."""
        return np.array([self.total({**counts, **dict.fromkeys(axes, level)}) for level in levels])

    def neighbours(self, axis: str) -> frozenset[str]:
        """Axes that meet `axis` in an operator."""
        return frozenset(self._near.get(axis, ()))


@final
class Affine(Cost):
    """Another cost times a slope, plus an offset: bytes of a file, from its parameters."""

    def __init__(self, inner: Cost, slope: float, offset: float) -> None:
        """Takes the three as they are."""
        self._inner, self._slope, self._offset = inner, slope, offset

    def total(self, counts: Counts) -> float:
        """The cost of a whole choice."""
        return self._offset + self._slope * self._inner.total(counts)

    def line(self, axes: Sequence[str], levels: Sequence[int], counts: Counts) -> Line:
        """The cost at each level, the offset left out: only differences mean something."""
        return self._slope * self._inner.line(axes, levels, counts)

    def neighbours(self, axis: str) -> frozenset[str]:
        """Those of the other cost."""
        return self._inner.neighbours(axis)
