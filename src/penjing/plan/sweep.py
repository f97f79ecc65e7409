"""Lagrangian sweeps: what is best where cost has a price, for many prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penjing.plan.point import Point, Problem

PRICES: Final = 40
"""Steps of each sweep."""

PROBES: Final = 64
"""So many times a single choice is held at some level while all others settle around it."""

SETTLINGS: Final = 1600
"""Fewer probes where there are many choices: so many by the number of choices."""

PROBE_PRICES: Final = 10
"""Prices that each probe is swept through."""

PASSES: Final = 12
"""So often every choice is looked at before its neighbours must have settled."""

_GAIN: Final = 1e-12
"""A relative gain below this is rounding."""


def sweep(problem: Problem) -> Iterator[Point]:
    """The choices that are best at some price, and the cheapest by each quantity.

    What is yielded moves on afterwards: take from it what is needed before asking for the next.
    With several quantities, each alone has a price, and several mixtures of them.
    """
    floor = [0] * len(problem.choices)
    full = [len(choice.levels) - 1 for choice in problem.choices]
    for quantity in problem.costs:
        point = Point(problem, floor)
        settle(point, {quantity: np.inf})
        yield point
    totals = problem.totals(full)
    for mix in mixes(list(problem.costs)):
        weights = {quantity: weight / max(totals[quantity], 1e-30) for quantity, weight in mix.items()}
        prices = np.geomspace(*_price_range(problem, weights, (floor, full)), PRICES)
        for start, order in ((full, prices), (floor, prices[::-1])):
            point = Point(problem, start)
            yield point
            for price in order:
                settle(point, {quantity: price * weight for quantity, weight in weights.items()})
                yield point
        for place, level in _probes(problem) if len(mix) == 1 else ():
            point = Point(problem, floor)
            point.move(place, level)
            for price in prices[:: -PRICES // PROBE_PRICES]:
                settle(point, {quantity: price * weight for quantity, weight in weights.items()}, held=place)
                yield point


def settle(point: Point, prices: Mapping[str, float], *, held: int | None = None) -> None:
    """Moves every choice but the one held in turn to its best level at these prices, until none moves."""
    choices = point.problem.choices
    changed = {place for place, choice in enumerate(choices) if len(choice.levels) > 1} - {held}
    for _ in range(PASSES):
        for place in sorted(changed):
            changed.discard(place)
            value = _value(point, place, prices)
            level, here = int(value.argmax()), value[point.at[place]]
            if value[level] > here + _GAIN * (1 + abs(here)):
                touched = point.move(place, level) - {place, held}
                changed |= {other for other in touched if len(choices[other].levels) > 1}
        if not changed:
            break


def _probes(problem: Problem) -> list[tuple[int, int]]:
    """(place, level) to hold: those choices first whose width touches most others."""
    touched = [
        sum(len(neighbours[place]) for neighbours in problem.neighbours.values())
        for place in range(len(problem.choices))
    ]
    order = sorted(range(len(touched)), key=lambda place: -touched[place])
    levels = [
        (place, level)
        for place in order
        if (count := len(problem.choices[place].levels)) > 1
        for level in range(0, count, max(1, count // 8))
    ]
    return levels[: min(PROBES, SETTLINGS // max(1, len(order)))]


def mixes(quantities: Sequence[str]) -> list[dict[str, float]]:
    """Weights of the quantities against each other: each alone, and some of each."""
    parts = {1: 1, 2: 4, 3: 3}.get(len(quantities), 2)

    def shared(left: int, of: int) -> list[tuple[int, ...]]:
        if of == 1:
            return [(left,)]
        return [(n, *rest) for n in range(left, -1, -1) for rest in shared(left - n, of - 1)]

    return [
        {quantity: n / parts for quantity, n in zip(quantities, split, strict=True) if n}
        for split in shared(parts, len(quantities))
    ]


def _value(point: Point, place: int, prices: Mapping[str, float]) -> NDArray[np.float64]:
    """Worth less price of every level of a choice; at an infinite price nothing else counts."""
    value = point.problem.choices[place].worth.copy()
    for quantity, price in prices.items():
        line = point.line(quantity, place)
        value = -line if np.isinf(price) else value - price * line
    return value


def _price_range(
    problem: Problem, weights: Mapping[str, float], starts: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """Below the first price nothing is worth cutting, above the second everything is."""
    rates: list[float] = []
    for start in starts:
        point = Point(problem, start)
        for place, choice in enumerate(problem.choices):
            cost = np.zeros(len(choice.levels))
            for quantity, weight in weights.items():
                cost += weight * point.line(quantity, place)
            steps, gains = np.diff(cost), np.diff(choice.worth)
            rates += (gains[steps > 0] / steps[steps > 0]).tolist()
    positive = [rate for rate in rates if rate > 0] or [1.0]
    return min(positive) / 2, max(positive) * 2
