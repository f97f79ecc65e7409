"""What a choice of widths costs, in a form that a search can ask thousands of times a second."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from penjing.network import Network, Operator

Counts = Mapping[str, int]
"""Axis name -> kept units; axes that are not named keep all."""

Axes = tuple[str, ...]
"""Names of axes that keep equal numbers of units."""

Levels = tuple[int, ...]
"""Numbers of units to choose from."""

Line = NDArray[np.float64]
"""A cost at each level of one choice."""

LARGEST: Final = 100_000
"""Entries of a table beyond which a cost is not put into tables."""

Asked = Sequence[tuple[Axes, Levels]]
"""Choices, by the axes that they are for and the numbers of units to choose from."""


@dataclass(frozen=True)
class Tables:
    """A cost as a sum of parts, each of which a few choices decide.

    Attributes:
        constant: what no choice changes.
        parts: places of the choices -> cost, one dimension for each of them.
    """

    constant: float
    parts: Mapping[tuple[int, ...], NDArray[np.float64]]


class Cost(ABC):
    """A cost that a budget bounds, of every choice of widths."""

    @abstractmethod
    def total(self, counts: Counts) -> float:
        """The cost of a whole choice."""

    @abstractmethod
    def line(self, axes: Axes, levels: Levels, counts: Counts) -> Line:
        """The cost when all of `axes` keep each of `levels`, everything else as in `counts`.

        Up to a constant: only differences inside one line mean something.
        """

    @abstractmethod
    def neighbours(self, axis: str) -> frozenset[str]:
        """Axes whose lines change with the width of `axis`; it may be among them."""

    def shift(self, axes: Axes, levels: Levels, counts: Counts, *, moved: Axes, width: int) -> Line | None:
        """What is to be added to the line of `axes` when all of `moved` go from `counts` to `width`.

        Up to a constant, too. None, as here, where that is no easier to say than the whole line.
        """
        return None

    def prepare(self, choices: Asked) -> None:
        """Told beforehand which lines will be asked for: what is cheaper to work out together, is."""
        return

    def tables(self, choices: Asked) -> list[Tables] | None:
        """The cost as the largest of some sums of tables.

        None, as here, where it is nothing of the kind, or has tables of more than `LARGEST` entries.
        """
        return None


@dataclass(frozen=True)
class Term:
    """A part of a cost.

    Attributes:
        axes: names of all axes that it depends on.
        value: its cost.
        vectorised: whether `value` takes arrays for widths, and gives one of their shape.
    """

    axes: frozenset[str]
    value: Callable[[Mapping[str, Any]], Any]
    vectorised: bool = False


@final
class Summed(Cost):
    """A sum of terms, each of which depends on few axes.

    Those that depend on the same axes are asked, and remembered, together.
    """

    def __init__(self, terms: Iterable[Term], *, constant: float = 0.0) -> None:
        """Sorts the terms by the axes that they depend on.

        Args:
            terms: all of them; those that depend on no axis are evaluated once.
            constant: what is to be added.
        """
        grouped: dict[frozenset[str], list[Term]] = defaultdict(list)
        for term in terms:
            grouped[term.axes].append(term)
        self._constant = constant + sum(float(term.value({})) for term in grouped.pop(frozenset(), ()))
        self._groups = [(tuple(sorted(axes)), terms) for axes, terms in grouped.items()]
        self._of: dict[str, list[int]] = defaultdict(list)
        for number, (axes, _) in enumerate(self._groups):
            for axis in axes:
                self._of[axis].append(number)
        self._values: dict[tuple[int, ...], float] = {}
        self._lines: dict[tuple[int, ...], Line] = {}
        self._choices: dict[Axes, list[tuple[int, Levels]]] = defaultdict(list)
        self._shared: dict[tuple[Axes, Axes], list[int]] = {}

    def total(self, counts: Counts) -> float:
        """The sum at `counts`."""
        return self._constant + sum(self._at(number, counts) for number in range(len(self._groups)))

    def line(self, axes: Axes, levels: Levels, counts: Counts) -> Line:
        """The sum of those terms that depend on `axes`."""
        return self._sum(self._touching(axes, axes), axes, levels, counts)

    def shift(self, axes: Axes, levels: Levels, counts: Counts, *, moved: Axes, width: int) -> Line | None:
        """The difference in those terms that depend on both."""
        groups = self._touching(axes, moved)
        after = {**counts, **dict.fromkeys(moved, width)}
        return self._sum(groups, axes, levels, after) - self._sum(groups, axes, levels, counts)

    def neighbours(self, axis: str) -> frozenset[str]:
        """Axes that share a term with it."""
        return frozenset(name for number in self._of.get(axis, ()) for name in self._groups[number][0])

    def prepare(self, choices: Asked) -> None:
        """Works out every line of those terms that take arrays and depend on two choices, all at once."""
        owner = {name: place for place, (axes, _) in enumerate(choices) for name in axes}
        for number, (names, terms) in enumerate(self._groups):
            places = sorted({owner[name] for name in names if name in owner})
            if len(places) == 2 and all(term.vectorised for term in terms):
                self._cross(number, choices[places[0]], choices[places[1]])

    def _cross(self, number: int, one: tuple[Axes, Levels], other: tuple[Axes, Levels]) -> None:
        """The lines of a group along either of the two choices that it depends on."""
        (axes, levels), (others, widths) = one, other
        names, terms = self._groups[number]
        if len(levels) * len(widths) > LARGEST:
            return
        rows, columns = (
            grid.ravel() for grid in np.meshgrid(np.asarray(levels), np.asarray(widths), indexing="ij")
        )
        counts = {name: rows if name in axes else columns for name in names if name in (*axes, *others)}
        table = sum(term.value(counts) for term in terms) + np.zeros(rows.shape)
        table = table.reshape(len(levels), len(widths))
        for (mine, own), (theirs, far), lines in ((one, other, table.T), (other, one, table)):
            choice = self._number(mine, own)
            for width, line in zip(far, lines, strict=True):
                fixed = [width if name in theirs else -1 for name in names if name not in mine]
                self._lines[choice, number, *fixed] = line

    def tables(self, choices: Asked) -> list[Tables] | None:
        """One sum, with a table for the terms that depend on the same choices."""
        owner = {name: place for place, (axes, _) in enumerate(choices) for name in axes}
        whole, parts = self._constant, dict[tuple[int, ...], NDArray[np.float64]]()
        for number, (names, _) in enumerate(self._groups):
            places = tuple(sorted({owner[name] for name in names if name in owner}))
            shape = [len(choices[place][1]) for place in places]
            if math.prod(shape) > LARGEST:
                return None
            found = np.empty(shape)
            for at in np.ndindex(found.shape):
                levels = {place: choices[place][1][level] for place, level in zip(places, at, strict=True)}
                found[at] = self._at(number, {name: levels[owner[name]] for name in names if name in owner})
            if not places:
                whole += float(found)
            else:
                parts[places] = parts.get(places, 0.0) + found
        return [Tables(whole, parts)]

    def _touching(self, one: Axes, other: Axes) -> list[int]:
        """The groups of terms that depend on some axis of each."""
        if (one, other) not in self._shared:
            first = dict.fromkeys(number for axis in one for number in self._of.get(axis, ()))
            second = {number for axis in other for number in self._of.get(axis, ())}
            self._shared[one, other] = [number for number in first if number in second]
        return self._shared[one, other]

    def _at(self, number: int, counts: Counts) -> float:
        axes, terms = self._groups[number]
        key = (number, *[counts.get(name, -1) for name in axes])
        if key not in self._values:
            mine = {name: counts[name] for name in axes if name in counts}
            self._values[key] = sum(float(term.value(mine)) for term in terms)
        return self._values[key]

    def _sum(self, groups: Sequence[int], axes: Axes, levels: Levels, counts: Counts) -> Line:
        choice = self._number(axes, levels)
        found = np.zeros(len(levels))
        for number in groups:
            key = (choice, number, *[counts.get(n, -1) for n in self._groups[number][0] if n not in axes])
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = self._along(number, axes, levels, counts)
            found += line
        return found

    def _number(self, axes: Axes, levels: Levels) -> int:
        """A number for each choice that is asked about; looking at `levels` itself would take too long."""
        known = self._choices[axes]
        for number, seen in known:
            if seen is levels:
                return number
        known.append((sum(map(len, self._choices.values())), levels))
        return known[-1][0]

    def _along(self, number: int, axes: Axes, levels: Levels, counts: Counts) -> Line:
        names, terms = self._groups[number]
        mine = {name: counts[name] for name in names if name in counts}
        moving = [name for name in axes if name in names]
        if not all(term.vectorised for term in terms):
            return np.array([self._at(number, {**mine, **dict.fromkeys(moving, n)}) for n in levels])
        here = {**mine, **dict.fromkeys(moving, np.asarray(levels, dtype=np.int64))}
        line: Line = np.zeros(len(levels)) + sum(term.value(here) for term in terms)
        return line


@final
class Affine(Cost):
    """Another cost times a slope, plus an offset: the bytes of a file, from its parameters."""

    def __init__(self, inner: Cost, *, slope: float = 1.0, offset: float = 0.0) -> None:
        """Takes the three as they are."""
        self._inner, self._slope, self._offset = inner, slope, offset

    def total(self, counts: Counts) -> float:
        """The cost of a whole choice."""
        return self._offset + self._slope * self._inner.total(counts)

    def line(self, axes: Axes, levels: Levels, counts: Counts) -> Line:
        """The other's, times the slope."""
        return self._slope * self._inner.line(axes, levels, counts)

    def shift(self, axes: Axes, levels: Levels, counts: Counts, *, moved: Axes, width: int) -> Line | None:
        """The other's, times the slope."""
        found = self._inner.shift(axes, levels, counts, moved=moved, width=width)
        return None if found is None else self._slope * found

    def neighbours(self, axis: str) -> frozenset[str]:
        """Those of the other cost."""
        return self._inner.neighbours(axis)

    def prepare(self, choices: Asked) -> None:
        """Told on to the other cost."""
        self._inner.prepare(choices)

    def tables(self, choices: Asked) -> list[Tables] | None:
        """Those of the other cost, times the slope, plus the offset; a negative slope has none."""
        found = self._inner.tables(choices)
        if found is None or self._slope < 0:
            return None
        return [
            Tables(
                self._offset + self._slope * one.constant,
                {places: self._slope * table for places, table in one.parts.items()},
            )
            for one in found
        ]


@final
class Plain(Cost):
    """Any function of the widths.

    It is asked anew for every level of every axis: fit for small networks, or for quick functions.
    """

    def __init__(self, function: Callable[[Counts], float], *, axes: Iterable[str]) -> None:
        """Takes the function as it is.

        Args:
            function: counts -> cost.
            axes: all that it may depend on.
        """
        self._function = function
        self._axes = frozenset(axes)

    def total(self, counts: Counts) -> float:
        """The function's value."""
        return float(self._function(counts))

    def line(self, axes: Axes, levels: Levels, counts: Counts) -> Line:
        """The function's values."""
        return np.array([self._function({**counts, **dict.fromkeys(axes, n)}) for n in levels], dtype=float)

    def neighbours(self, axis: str) -> frozenset[str]:
        """Every axis."""
        return self._axes


def macs(net: Network) -> Summed:
    """Multiply-accumulate operations: `net.macs_at`, by operator."""
    return Summed(
        Term(operator.depends, operator.macs_at, vectorised=_is_polynomial(operator))
        for operator in net.operators
        if operator.macs_at({})
    )


def parameters(net: Network) -> Summed:
    """Elements of all parameters: `net.parameters_at`, by tensor."""
    carried: dict[str, set[str]] = defaultdict(set)
    switched = {name: axis for axis, one in net.switches.items() for name in one.branch.parameters}
    for axis in net.prunable:
        for member in axis.members:
            carried[member.tensor].add(axis.name)
    seen: set[int] = set()
    terms = []
    for name, tensor in net.model.named_parameters(remove_duplicate=False):
        if name in net.tensors and id(tensor) not in seen:
            seen.add(id(tensor))
            switch = switched.get(name)
            axes = frozenset(carried[name] | ({switch} if switch else set()))
            terms.append(Term(axes, _elements(net, name, switch), vectorised=True))
    rest = sum(tensor.numel() for tensor in net.model.parameters() if id(tensor) not in seen)
    return Summed(terms, constant=float(rest))


def operators(
    net: Network, value: Callable[[Operator, Counts], float], *, vectorised: bool = False
) -> Summed:
    """Any cost that is a sum over operators.

    Args:
        net: the network.
        value: (operator, counts) -> its cost.
        vectorised: whether `value` takes arrays for widths, but for operators whose own formulas do not.
    """

    def of(operator: Operator) -> Callable[[Counts], float]:
        return lambda counts: value(operator, counts)

    return Summed(
        Term(operator.depends, of(operator), vectorised=vectorised and _is_polynomial(operator))
        for operator in net.operators
    )


def _elements(net: Network, name: str, switch: str | None) -> Callable[[Mapping[str, Any]], Any]:
    dims = net.tensors[name]

    def elements(counts: Mapping[str, Any]) -> Any:
        # Sizes are sums and products of widths, so that widths may be arrays.
        whole = _product(net.shape_at(dims, counts))
        return whole if switch is None else whole * (counts.get(switch, 1) != 0)

    return elements


def _product(sizes: Iterable[Any]) -> Any:
    found: Any = 1
    for size in sizes:
        found = found * size
    return found


def _is_polynomial(operator: Operator) -> bool:
    """Whether its formula only adds and multiplies, so that widths may be arrays; einsum's compares sizes."""
    return not operator.target.startswith("aten.einsum")
