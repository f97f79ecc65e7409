"""Integers that remember where they came from and what was done to them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Origin = tuple[str, ...]
"""Where an integer came from: `("attribute", "blocks.0", "num_heads")`, `("shape", "linear_1", ..., "2")`."""


@dataclass(frozen=True, eq=False)
class Node:
    """Arithmetic on remembered integers; itself and nothing else is equal to it."""

    function: Callable[..., int]
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Leaf:
    """One remembered integer."""

    origin: Origin
    value: int


Expression = Node | Leaf | int


class Tracked(int):
    """An `int` in every respect, which also knows the expression that made it."""

    expression: Expression

    def __new__(cls, value: int, expression: Expression) -> Tracked:
        """A plain integer with a memory."""
        made = super().__new__(cls, value)
        made.expression = expression
        return made

    def __copy__(self) -> Tracked:
        """Itself: it is immutable."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tracked:
        """Itself: it is immutable."""
        return self

    def __eq__(self, other: object) -> bool:
        """Equality of the values; what the code compares is noted (see `comparisons`)."""
        equal = int(self) == (int(other) if isinstance(other, int) else other)
        if isinstance(other, int) and _noted:
            _noted[-1][not equal].append((self, other))
        return equal

    def __ne__(self, other: object) -> bool:
        """The opposite, noted alike."""
        return not self == other

    def __hash__(self) -> int:
        """Of the value."""
        return hash(int(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Leaves its memory behind."""
        return int, (int(self),)


def expression_of(value: int) -> Expression:
    """What made `value`; plain integers are constants."""
    return value.expression if isinstance(value, Tracked) else value


def evaluate(expression: Expression, values: Mapping[Origin, int]) -> int | None:
    """The value of `expression` with some origins changed; None where it divides by zero."""
    try:
        *_, (_, last) = _steps(expression, values)
    except (ZeroDivisionError, ValueError):
        return None
    return last


def divides(expression: Expression, values: Mapping[Origin, int]) -> bool:
    """Whether every division in `expression` leaves no rest, with some origins changed."""
    return not any(rest for rest, _ in _steps(expression, values))


def _steps(expression: Expression, values: Mapping[Origin, int]) -> Iterator[tuple[int, int]]:
    """For each part of `expression`, inner ones first: the rest that its division leaves, and its value."""
    known: dict[Node, int] = {}

    def value(at: Expression) -> int:
        if isinstance(at, Node):
            return known[at]
        return values.get(at.origin, at.value) if isinstance(at, Leaf) else at

    for node in _inside_out(expression):
        left, right = value(node.left), value(node.right)
        known[node] = node.function(left, right)
        yield left % right if node.function is operator.floordiv else 0, known[node]
    yield 0, value(expression)


def origins(expression: Expression) -> Iterator[Leaf]:
    """Every remembered integer in `expression`, each once."""
    found = {expression: None} if isinstance(expression, Leaf) else {}
    for node in _inside_out(expression):
        found.update(dict.fromkeys(side for side in (node.left, node.right) if isinstance(side, Leaf)))
    yield from found


def _inside_out(expression: Expression) -> Iterator[Node]:
    """Every node of `expression` once, after those that it is made of; no recursion, however long the sum."""
    done: set[Node] = set()
    stack = [expression] if isinstance(expression, Node) else []
    while stack:
        at = stack.pop()
        if at in done:
            continue
        waiting = [side for side in (at.left, at.right) if isinstance(side, Node) and side not in done]
        if waiting:
            stack += [at, *waiting]
        else:
            done.add(at)
            yield at


Pairs = list[tuple[int, int]]

_noted: list[tuple[Pairs, Pairs]] = []


@contextmanager
def comparisons(equal: Pairs, unequal: Pairs) -> Iterator[None]:
    """Inside, pairs of integers that are compared, one of them remembered, are added to one of the lists."""
    _noted.append((equal, unequal))
    try:
        yield
    finally:
        _noted.pop()


def _binary(function: Callable[[int, int], int]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Tracked, other: Any) -> Any:
        if type(other) is not int and not isinstance(other, Tracked):
            return getattr(int, _name(function))(int(self), other)
        return Tracked(function(int(self), int(other)), Node(function, self.expression, expression_of(other)))

    def backward(self: Tracked, other: Any) -> Any:
        if type(other) is not int and not isinstance(other, Tracked):
            return NotImplemented
        return Tracked(function(int(other), int(self)), Node(function, expression_of(other), self.expression))

    return forward, backward


def _name(function: Callable[..., int]) -> str:
    return f"__{function.__name__.rstrip('_')}__"


for _function in (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod):
    _forward, _backward = _binary(_function)
    setattr(Tracked, _name(_function), _forward)
    setattr(Tracked, f"__r{_name(_function)[2:]}", _backward)
