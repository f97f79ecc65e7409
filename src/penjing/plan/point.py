"""A point of the search: a level for every choice, its costs, and what any single move would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penjing.plan.choices import Choice
from penjing.plan.costs import Cost, Line


class Problem:
    """The choices and the costs, with what touches what worked out once."""

    def __init__(self, choices: Sequence[Choice], costs: Mapping[str, Cost]) -> None:
        """Works out which choices' lines change with which.

        Args:
            choices: every one of them.
            costs: by quantity.
        """
        self.choices = tuple(choices)
        self.costs = dict(costs)
        owner = {name: place for place, choice in enumerate(choices) for name in choice.axes}
        self.neighbours: dict[str, list[list[int]]] = {
            quantity: [
                sorted(
                    {owner[n] for name in choice.axes for n in cost.neighbours(name) if n in owner} - {place}
                )
                for place, choice in enumerate(choices)
            ]
            for quantity, cost in costs.items()
        }

    def counts(self, at: Sequence[int]) -> dict[str, int]:
        """Units kept by every axis when each choice is at the given level."""
        return {
            name: choice.levels[level]
            for choice, level in zip(self.choices, at, strict=True)
            for name in choice.axes
        }

    def totals(self, at: Sequence[int]) -> dict[str, float]:
        """Every cost, likewise."""
        counts = self.counts(at)
        return {quantity: cost.total(counts) for quantity, cost in self.costs.items()}

    def worth(self, at: Sequence[int]) -> float:
        """What is kept, likewise."""
        return float(sum(choice.worth[level] for choice, level in zip(self.choices, at, strict=True)))


class Point:
    """A level for every choice, to be moved about."""

    def __init__(self, problem: Problem, at: Sequence[int]) -> None:
        """Starts at the given levels."""
        self.problem = problem
        self.at = list(at)
        self.counts = problem.counts(at)
        self.totals = problem.totals(at)
        self.worth = problem.worth(at)
        self._lines: dict[str, list[Line | None]] = {q: [None] * len(self.at) for q in problem.costs}

    def line(self, quantity: str, place: int) -> Line:
        """How the cost would change if the choice at `place` went to each of its levels."""
        found = self._lines[quantity][place]
        if found is None:
            choice = self.problem.choices[place]
            found = self.problem.costs[quantity].line(choice.axes, choice.levels, self.counts)
            self._lines[quantity][place] = found
        change: Line = found - found[self.at[place]]
        return change

    def move(self, place: int, level: int) -> set[int]:
        """Sets the choice at `place`, and returns the places whose moves now cost something else."""
        choice = self.problem.choices[place]
        changed = {place}
        for quantity, lines in self._lines.items():
            self.totals[quantity] += float(self.line(quantity, place)[level])
            cost = self.problem.costs[quantity]
            for other in self.problem.neighbours[quantity][place]:
                changed.add(other)
                if (line := lines[other]) is not None:
                    near = self.problem.choices[other]
                    shift = cost.shift(
                        near.axes, near.levels, self.counts, moved=choice.axes, width=choice.levels[level]
                    )
                    lines[other] = None if shift is None else line + shift
        self.worth += float(choice.worth[level] - choice.worth[self.at[place]])
        self.at[place] = level
        for name in choice.axes:
            self.counts[name] = choice.levels[level]
        return changed
