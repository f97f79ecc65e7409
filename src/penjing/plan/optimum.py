"""How good a plan is: the best there can be, by a mixed-integer program that HiGHS solves.

One binary variable says which level each choice takes. What several choices cost together is a table over
their levels; its entries have a variable each, which sum up to the choices' own along every other dimension
(the local marginal polytope; Wainwright and Jordan 2008, doi:10.1561/2200000001, section 4.1.1). So the
program is exact, and its relaxation close.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from penjing.errors import PenjingError
from penjing.plan.costs import Tables
from penjing.plan.point import Problem

MOST: Final = 400_000
"""Entries of tables beyond which the program is not put up."""


@dataclass(frozen=True)
class Optimum:
    """What the solver found.

    Attributes:
        at: the level of every choice; None where it found none in its time.
        worth: of that.
        bound: no choice within the limits is worth more.
        proven: whether the search came to its end: `worth` is `bound` but for the solver's tolerance.
    """

    at: tuple[int, ...] | None
    worth: float
    bound: float
    proven: bool


def optimum(
    problem: Problem, limits: Mapping[str, float], *, seconds: float = 60.0, gap: float = 1e-4
) -> Optimum:
    """The most worth that can be kept within `limits`, or as near to it as there is time for.

    Args:
        problem: what there is to choose, and what it costs.
        limits: by quantity.
        seconds: for the solver.
        gap: the relative distance of worth and bound at which it may stop.

    Raises:
        PenjingError: PJ503, nothing is within the limits; PJ516, a cost is no sum of tables, or its tables
            are too large.
    """
    program = _Program(problem)
    for quantity, limit in limits.items():
        asked = [(choice.axes, choice.levels) for choice in problem.choices]
        found = problem.costs[quantity].tables(asked)
        if found is None:
            raise PenjingError(
                "PJ516",
                f"no optimum under a budget of {quantity}",
                because="it is no sum over operators, or one of them depends on too many widths",
            )
        for tables in found:
            program.bound(tables, limit)
    return program.solve(seconds, gap)


class _Program:
    """Variables, what they are worth, and the rows that bind them."""

    def __init__(self, problem: Problem) -> None:
        self._choices = problem.choices
        self._first = np.cumsum([0, *(len(choice.levels) for choice in problem.choices)])
        self._variables = int(self._first[-1])
        self._joint: dict[tuple[int, ...], int] = {}
        self._rows: list[tuple[NDArray[np.intp], NDArray[np.float64], float, float]] = []
        for place, choice in enumerate(problem.choices):
            self._row(self._first[place] + np.arange(len(choice.levels)), 1.0, 1.0, 1.0)

    def bound(self, tables: Tables, limit: float) -> None:
        """No more than `limit` of a cost."""
        constant, columns, values = tables.constant, [np.empty(0, np.intp)], [np.empty(0)]
        for places, table in tables.parts.items():
            varied = tuple(place for place in places if len(self._choices[place].levels) > 1)
            flat = table.reshape([len(self._choices[place].levels) for place in varied])
            constant += float(flat.min())  # entries are never negative so, and the program is better scaled
            columns.append(self._of(varied))
            values.append((flat - flat.min()).ravel())
        scale = max(abs(limit), 1e-30)
        room = (limit - constant) / scale
        self._row(np.concatenate(columns), np.concatenate(values) / scale, -np.inf, room)

    def solve(self, seconds: float, gap: float) -> Optimum:
        """Asks HiGHS."""
        whole = sum(float(choice.worth.max()) for choice in self._choices)
        objective = np.zeros(self._variables)
        integral = np.zeros(self._variables, dtype=np.int64)
        for place, choice in enumerate(self._choices):
            own = slice(int(self._first[place]), int(self._first[place + 1]))
            objective[own], integral[own] = -choice.worth / (whole or 1.0), 1
        counts = [len(columns) for columns, *_ in self._rows]
        matrix = coo_array(
            (
                np.concatenate([values for _, values, *_ in self._rows]),
                (
                    np.repeat(np.arange(len(counts)), counts),
                    np.concatenate([columns for columns, *_ in self._rows]),
                ),
            ),
            shape=(len(counts), self._variables),
        ).tocsr()
        lower, upper = (np.array([row[end] for row in self._rows]) for end in (2, 3))
        result = milp(
            objective,
            integrality=integral,
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, lower, upper),
            options={"time_limit": seconds, "mip_rel_gap": gap},
        )
        if result.status == 2:
            raise PenjingError("PJ503", "nothing that there is to choose is within the limits")
        bound = whole  # what everything is worth, until the solver knows better
        if result.mip_dual_bound is not None:
            bound = min(bound, -float(result.mip_dual_bound) * whole)
        if result.x is None:
            return Optimum(None, float("-inf"), bound, proven=False)
        at = tuple(
            int(result.x[self._first[place] : self._first[place + 1]].argmax())
            for place in range(len(self._choices))
        )
        worth = float(sum(choice.worth[level] for choice, level in zip(self._choices, at, strict=True)))
        return Optimum(at, worth, max(bound, worth), proven=result.status == 0)

    def _of(self, places: tuple[int, ...]) -> NDArray[np.intp]:
        """Variables of the entries of a table over these choices."""
        sizes = [len(self._choices[place].levels) for place in places]
        if not places:
            return np.zeros(1, np.intp)
        if len(places) == 1:
            return np.arange(self._first[places[0]], self._first[places[0] + 1])
        if places not in self._joint:
            self._joint[places] = self._variables
            self._variables += int(np.prod(sizes))
            if self._variables > MOST:
                raise PenjingError(
                    "PJ516",
                    "the program for the optimum is too large",
                    because=f"its tables have more than {MOST:,} entries",
                    tries=["coarser steps"],
                )
            entries = self._joint[places] + np.arange(np.prod(sizes)).reshape(sizes)
            for dimension, place in enumerate(places):
                for level, slab in enumerate(np.moveaxis(entries, dimension, 0)):
                    own = int(self._first[place]) + level
                    columns = np.concatenate([[own], slab.ravel()])
                    self._row(columns, np.concatenate([[-1.0], np.ones(slab.size)]), 0.0, 0.0)
        return self._joint[places] + np.arange(int(np.prod(sizes)))

    def _row(
        self,
        columns: NDArray[np.intp],
        values: NDArray[np.float64] | float,
        lower: float,
        upper: float,
    ) -> None:
        self._rows.append((columns, np.broadcast_to(values, columns.shape).astype(float), lower, upper))


def gap_of(worth: float, bound: float) -> float:
    """How much of what the best can be worth is missing, as a share of it; 0 for the best."""
    return max(0.0, (bound - worth) / bound) if bound > 0 else 0.0
