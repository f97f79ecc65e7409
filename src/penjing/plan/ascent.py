"""Local search below a limit: moves up that fit, and exchanges of up to two moves up for up to two down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from penjing.plan.costs import Line
from penjing.plan.point import Point

Way = Literal[1, -1]
"""Up or down."""

REACH: Final = (1, 2, 3, 4, 8, 16)
"""Moves that are looked at: this many levels up, and as many down; and to either end."""

_WIDTH: Final = len(REACH) + 1
"""Moves of a choice in one direction."""

SINGLES: Final = 48
"""Exchanges are made of this many moves in each direction, those with the best rate of worth to cost;"""

PAIRS: Final = 24
"""and of any two among this many."""

TRIALS: Final = 8
"""So many of the best exchanges are tried: where choices cost more together, estimates err."""

_GAIN: Final = 1e-12
"""A relative gain below this is rounding."""


@dataclass(frozen=True)
class _Bundles:
    """Moves in one direction, alone or in twos.

    Attributes:
        moves: (place, level) of each bundle's moves.
        places: int [n, 2]; the second is negative where there is one move only.
        gain: worth, float64 [n].
        cost: by quantity, float64 [n]; exact for one move, of two the sum.
    """

    moves: list[tuple[tuple[int, int], ...]]
    places: NDArray[np.intp]
    gain: NDArray[np.float64]
    cost: dict[str, NDArray[np.float64]]


class Ascent:
    """A point that climbs, and keeps up to date what every near move of every choice would change."""

    def __init__(self, point: Point) -> None:
        """Looks at every choice once."""
        self.point = point
        shape = (len(point.at), _WIDTH)
        self._levels = {way: np.full(shape, -1) for way in (1, -1)}
        self._gain = {way: np.full(shape, np.nan) for way in (1, -1)}
        self._cost = {quantity: {way: np.full(shape, np.nan) for way in (1, -1)} for quantity in point.totals}
        self._reached: dict[tuple[int, int], dict[int, tuple[NDArray[np.intp], Line]]] = {}
        self._look(range(len(point.at)))

    def climb(self, caps: Mapping[str, float]) -> bool:
        """One improvement of worth that stays within `caps`; False where none is found."""
        return self._rise(caps) or self._exchange(caps)

    def _look(self, places: Iterable[int]) -> None:
        """Brings the moves of these choices up to date."""
        for place in places:
            lines = {quantity: self.point.line(quantity, place) for quantity in self._cost}
            for way, (targets, gain) in self._within_reach(place).items():
                self._levels[way][place], self._gain[way][place] = targets, gain
                for quantity, line in lines.items():
                    self._cost[quantity][way][place] = np.where(targets < 0, np.nan, line[targets])

    def _within_reach(self, place: int) -> dict[int, tuple[NDArray[np.intp], Line]]:
        """By way, the levels that one move leads to from where a choice is (-1 for none) and their gain."""
        choice, here = self.point.problem.choices[place], self.point.at[place]
        if (place, here) not in self._reached:
            ways = self._reached[place, here] = {}
            for way in self._levels:
                targets = [here + way * reach for reach in REACH]
                targets = [target for target in targets if 0 <= target < len(choice.levels)]
                end = 0 if way < 0 else len(choice.levels) - 1
                targets += [end] if end != here and end not in targets else []
                levels = np.array(targets + [-1] * (_WIDTH - len(targets)))
                gain = np.where(levels < 0, np.nan, choice.worth[levels] - choice.worth[here])
                ways[way] = levels, gain
        return self._reached[place, here]

    def _move(self, place: int, level: int) -> None:
        self._look(self.point.move(place, level))

    def _rise(self, caps: Mapping[str, float]) -> bool:
        """Takes the move up that is worth most for its cost, of those that fit."""
        gain, totals = self._gain[1], self.point.totals
        price = np.zeros_like(gain)
        fits = gain > 0
        for quantity, cap in caps.items():
            change = self._cost[quantity][1]
            fits &= totals[quantity] + change <= cap
            price += change / cap
        if not fits.any():
            return False
        rate = np.where(fits, gain / np.maximum(price, _GAIN), -np.inf)
        place, which = np.unravel_index(int(rate.argmax()), rate.shape)
        self._move(int(place), int(self._levels[1][place, which]))
        return True

    def _exchange(self, caps: Mapping[str, float]) -> bool:
        """Moves one or two choices up and one or two others down where that is worth more and still fits."""
        up, down = self._bundles(1, caps), self._bundles(-1, caps)
        if not up.moves or not down.moves:
            return False
        gain = up.gain[:, None] + down.gain[None, :]
        fits = gain > _GAIN * max(1.0, abs(self.point.worth))
        for quantity, cap in caps.items():
            change = up.cost[quantity][:, None] + down.cost[quantity][None, :]
            fits &= self.point.totals[quantity] + change <= cap
        better = np.argwhere(fits)
        order = np.argsort(-gain[fits], kind="stable")
        tried = 0
        for one, other in better[order]:
            if tried == TRIALS:
                break
            if not set(up.places[one]) & set(down.places[other]):
                tried += 1
                if self._made((*down.moves[other], *up.moves[one]), caps):
                    return True
        return False

    def _made(self, moves: tuple[tuple[int, int], ...], caps: Mapping[str, float]) -> bool:
        """Makes several moves; takes them back where they cost more together than apart."""
        before = [(place, self.point.at[place]) for place, _ in moves]
        for place, level in moves:
            self._move(place, level)
        if all(self.point.totals[quantity] <= cap for quantity, cap in caps.items()):
            return True
        for place, level in reversed(before):
            self._move(place, level)
        return False

    def _bundles(self, way: Way, caps: Mapping[str, float]) -> _Bundles:
        """The moves in one direction with the best rate of worth to cost, alone and in twos."""
        gain = self._gain[way].ravel()
        cost = {quantity: self._cost[quantity][way].ravel() for quantity in caps}
        price = np.zeros_like(gain)
        for quantity, cap in caps.items():
            price += cost[quantity] / cap
        usable = np.flatnonzero(gain > 0 if way > 0 else ~np.isnan(gain))
        rate = gain[usable] / np.maximum(way * price[usable], _GAIN)
        singles = usable[np.argsort(-rate, kind="stable")[:SINGLES]]
        pairs = [(a, b) for a, b in combinations(singles[:PAIRS].tolist(), 2) if a // _WIDTH != b // _WIDTH]
        first = np.array([*singles, *(a for a, _ in pairs)], dtype=np.intp)
        second = np.array([b for _, b in pairs], dtype=np.intp)
        count, levels = len(singles), self._levels[way].ravel()

        def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
            total = values[first]
            total[count:] += values[second]
            return total

        alone = [((int(at) // _WIDTH, int(levels[at])),) for at in singles]
        twos = [((a // _WIDTH, int(levels[a])), (b // _WIDTH, int(levels[b]))) for a, b in pairs]
        places = np.full((len(first), 2), -1, dtype=np.intp)
        places[:, 0] = first // _WIDTH
        places[count:, 1] = second // _WIDTH
        places[:count, 1] = -1 if way > 0 else -2  # unlike the other direction's, so that they never meet
        return _Bundles(
            [*alone, *twos],
            places,
            summed(gain),
            {quantity: summed(values) for quantity, values in cost.items()},
        )
