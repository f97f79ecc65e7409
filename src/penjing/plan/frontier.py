"""The frontier: good choices for every size of budget along one direction; any limit is then a look-up.

Two searches feed it, neither of which knows the limit that will be asked for:

* a Lagrangian sweep: for each of many prices, every choice in turn goes to the level that is best at that
  price, until none moves; from the whole network with the price rising, from the smallest with it falling;
* a ladder: limits rise in steps of one per cent from the smallest network; on each rung the best choice known
  goes on from where it was, first by the moves up that are worth most for their cost, then by exchanges (one
  or two choices up, one or two down) that keep within the rung.

What the ladder holds at one rung is where the next begins: for a larger limit the answer is never worth less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from penjing.plan.ascent import Ascent
from penjing.plan.point import Point, Problem
from penjing.plan.sweep import sweep

RUNG: Final = 1.01
"""Ratio of one limit of the ladder to the one before."""

LOWEST: Final = 1e-3
"""Share of what everything costs at which the ladder begins: without branches, hardly anything is left."""

_ROUNDING: Final = 1e-9
"""Relative rounding error that sums of costs may have."""


@dataclass(frozen=True)
class Found:
    """A choice that the search came by.

    Attributes:
        rung: of the ladder; 0 for those of the sweeps.
        totals: what it costs, by quantity.
        worth: what it keeps.
        at: the level of every choice.
        scale: the smallest multiple of the frontier's direction that holds it.
    """

    rung: int
    totals: Mapping[str, float]
    worth: float
    at: tuple[int, ...]
    scale: float


class Frontier:
    """Good choices along one direction of limits, worked out as far as they are asked for."""

    def __init__(self, problem: Problem, limits: Mapping[str, float]) -> None:
        """Sweeps, and puts the ladder up.

        Args:
            problem: what there is to choose; its costs are those in `limits`.
            limits: by quantity; only their ratios matter.
        """
        self.problem = problem
        self._unit = dict(limits)
        for cost in problem.costs.values():
            cost.prepare([(choice.axes, choice.levels) for choice in problem.choices])
        self._found = [self._seen(0, point) for point in sweep(problem)]
        self._seeds = sorted(self._found, key=lambda found: found.scale)
        start = Point(problem, [0] * len(problem.choices))
        self._ascent = Ascent(start)
        self._last = max(found.scale for found in self._seeds)
        self._first = max(self._seen(0, start).scale, LOWEST * self._last, 1e-30)
        self._rung = 0

    def best(self, limits: Mapping[str, float]) -> Found | None:
        """The most valuable choice within `limits`.

        Args:
            limits: a multiple of those that the frontier was made for.

        Returns:
            None where even the smallest choice exceeds them.
        """
        scale = max(limits[quantity] / unit for quantity, unit in self._unit.items())
        self._climb_to(scale)
        top = next((n for n in range(self._rung + 1) if self._limit(n) >= scale), self._rung)
        within = [
            found
            for found in self._found
            if found.rung <= top
            and all(found.totals[q] <= cap * (1 + _ROUNDING) for q, cap in limits.items())
        ]
        return max(within, key=lambda found: (found.worth, -found.scale), default=None)

    def smallest(self) -> Found:
        """The cheapest choice found, by the limit that it comes nearest to."""
        return self._seeds[0]

    def wasteful(self, part: float) -> float:
        """The share of budgets of which more than `part` is left.

        Budgets from a tenth of what everything costs upwards, as far as they can be met, evenly by ratio.
        """
        self._climb_to(self._last)
        least = max(self._last / 10, self._seeds[0].scale)
        scales, worth = [least], float("-inf")
        for found in sorted(self._found, key=lambda found: (found.scale, -found.worth)):
            if found.worth > worth:
                worth = found.worth
                scales.append(max(found.scale, least))
        left = (math.log(after / before * (1 - part)) for before, after in pairwise(scales))
        return (
            sum(max(0.0, wasted) for wasted in left) / math.log(self._last / least)
            if least < self._last
            else 0.0
        )

    def _limit(self, rung: int) -> float:
        return self._first * RUNG**rung

    def _climb_to(self, scale: float) -> None:
        while self._limit(self._rung) < min(scale, self._last):
            self._rung += 1
            self._climb(self._limit(self._rung))

    def _climb(self, limit: float) -> None:
        """One rung: from the better of what the ladder holds and the sweeps found, upwards and across."""
        fitting = (found for found in self._seeds if found.scale <= limit)
        best = max(fitting, key=lambda found: found.worth, default=None)
        if best is not None and best.worth > self._ascent.point.worth:
            self._ascent = Ascent(Point(self.problem, best.at))
        caps = {quantity: unit * limit for quantity, unit in self._unit.items()}
        for _ in range(8 * len(self.problem.choices) + 8):
            if not self._ascent.climb(caps):
                break
            self._found.append(self._seen(self._rung, self._ascent.point))

    def _seen(self, rung: int, point: Point) -> Found:
        scale = max((point.totals[quantity] / unit for quantity, unit in self._unit.items()), default=0.0)
        return Found(rung, dict(point.totals), point.worth, tuple(point.at), scale)
