"""A cost that is the largest of several sums: the memory of the tensors that are alive at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from penjing.plan.costs import Asked, Axes, Cost, Counts, Levels, Line, Summed, Tables, Term


@final
class Peak(Cost):
    """The most, over all steps, of the sum of those terms that count in a step.

    What a width saves depends on all others, for they decide which step is the one that counts. Only the
    terms of the width itself are evaluated anew, though.
    """

    def __init__(self, terms: Sequence[Term], counted: NDArray[np.bool_]) -> None:
        """Leaves out steps that can never be the largest.

        Args:
            terms: all of them, vectorised; none may be negative.
            counted: bool [steps, terms], whether a step counts a term.
        """
        self._terms = tuple(terms)
        self._counted = _undominated(counted).astype(np.float64)
        self._axes = frozenset(axis for term in terms for axis in term.axes)
        self._lines: dict[tuple[Any, ...], Line] = {}

    def total(self, counts: Counts) -> float:
        """The largest sum at `counts`."""
        return float((self._counted @ self._sizes(counts)).max(initial=0.0))

    def line(self, axes: Axes, levels: Levels, counts: Counts) -> Line:
        """The largest sum at each level."""
        moving = [place for place, term in enumerate(self._terms) if not term.axes.isdisjoint(axes)]
        still = self._sizes(counts)
        still[moving] = 0.0
        rows = np.array([self._along(place, axes, levels, counts) for place in moving])
        sums = (self._counted @ still)[:, None] + self._counted[:, moving] @ rows.reshape(-1, len(levels))
        found: Line = sums.max(axis=0, initial=0.0)
        return found

    def tables(self, choices: Asked) -> list[Tables] | None:
        """A sum for every step."""
        alone: list[Tables] = []
        for term in self._terms:
            found = Summed([term]).tables(choices)
            if found is None:
                return None
            alone += found
        return [
            Tables(
                sum(one.constant for one, here in zip(alone, row, strict=True) if here),
                _added([one.parts for one, here in zip(alone, row, strict=True) if here]),
            )
            for row in self._counted > 0
        ]

    def neighbours(self, axis: str) -> frozenset[str]:
        """Every axis."""
        return self._axes

    def _sizes(self, counts: Counts) -> NDArray[np.float64]:
        return np.array([self._along(place, (), (0,), counts)[0] for place in range(len(self._terms))])

    def _along(self, place: int, axes: Axes, levels: Levels, counts: Counts) -> Line:
        """One term at each level."""
        term = self._terms[place]
        fixed = {name: counts[name] for name in sorted(term.axes) if name in counts and name not in axes}
        moving = [name for name in axes if name in term.axes]
        key = (place, *fixed.items(), None, *moving, levels)
        line = self._lines.get(key)
        if line is None:
            here = {**fixed, **dict.fromkeys(moving, np.asarray(levels, dtype=np.int64))}
            line = self._lines[key] = np.zeros(len(levels)) + term.value(here)
        return line


def _added(
    parts: Sequence[Mapping[tuple[int, ...], NDArray[np.float64]]],
) -> dict[tuple[int, ...], NDArray[np.float64]]:
    found: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for one in parts:
        for places, table in one.items():
            found[places] = found.get(places, 0.0) + table
    return found


def _undominated(counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows that are no part of another one."""
    rows = np.unique(counted, axis=0)
    shared = rows.astype(np.int64) @ rows.T
    inside = shared == np.diag(shared)[:, None]
    np.fill_diagonal(inside, False)
    kept: NDArray[np.bool_] = rows[~inside.any(axis=1)]
    return kept
