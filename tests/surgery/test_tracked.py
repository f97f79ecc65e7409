"""Integers that remember: integers in every respect; expressions that give what the code would compute."""

from __future__ import annotations

import json
import operator
import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.surgery.tracked import Leaf, Tracked, comparisons, evaluate, expression_of, origins

REMEMBERED: tuple[Callable[[Any, Any], Any], ...] = (
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.mod,
)
"""Arithmetic on sizes whose result remembers."""

FORGOTTEN: tuple[Callable[[Any, Any], Any], ...] = (
    operator.truediv,
    operator.pow,
    divmod,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
    max,
    min,
)

WHOLE = st.integers(-50, 50)


def tracked(value: int, name: str = "dim") -> Tracked:
    return Tracked(value, Leaf(("attribute", "blocks.0", name), value))


def outcome(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """What a call gives or raises."""
    try:
        return function(left, right)
    except ArithmeticError as error:
        return type(error)


@given(left=WHOLE, right=WHOLE, function=st.sampled_from(REMEMBERED + FORGOTTEN), which=st.integers(1, 3))
def test_tracked_computes_as_a_plain_integer(left: int, right: int, function: Any, which: int) -> None:
    one = tracked(left) if which & 1 else left
    other = tracked(right, "heads") if which & 2 else right
    assert outcome(function, one, other) == outcome(function, left, right)


@given(left=WHOLE, right=st.floats(-8, 8).filter(bool) | st.booleans(), swap=st.booleans())
@pytest.mark.parametrize(
    "function", [operator.add, operator.sub, operator.mul, operator.truediv, operator.lt]
)
def test_tracked_computes_with_floats_and_booleans(function: Any, left: int, right: Any, swap: bool) -> None:
    plain, remembered = (left, right), (tracked(left), right)
    if swap:
        plain, remembered = plain[::-1], remembered[::-1]
    assert outcome(function, *remembered) == outcome(function, *plain)


Program = Callable[[dict[str, Any]], Any]


def programs() -> st.SearchStrategy[Program]:
    """Arithmetic on three sizes a, b, c, as a function of them."""
    names = st.sampled_from("abc").map(lambda name: lambda sizes: sizes[name])
    numbers = st.integers(1, 9).map(lambda number: lambda sizes: number)

    def combined(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
        return st.tuples(st.sampled_from(REMEMBERED), inner, inner).map(
            lambda parts: lambda sizes: parts[0](parts[1](sizes), parts[2](sizes))
        )

    return st.recursive(names | numbers, combined, max_leaves=12)


@given(programs(), st.tuples(*[st.integers(1, 64)] * 3), st.tuples(*[st.integers(1, 64)] * 3))
def test_expression_evaluates_to_what_the_code_computes_from_other_sizes(
    program: Program, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    remembered = {name: tracked(value, name) for name, value in zip("abc", before, strict=True)}
    try:
        expression = expression_of(program(remembered))
    except ZeroDivisionError:
        return
    new = {("attribute", "blocks.0", name): value for name, value in zip("abc", after, strict=True)}
    try:
        expected = program(dict(zip("abc", after, strict=True)))
    except ZeroDivisionError:
        expected = None
    assert evaluate(expression, new) == expected


@given(programs(), st.tuples(*[st.integers(1, 64)] * 3))
def test_origins_are_the_sizes_that_took_part(program: Program, sizes: tuple[int, ...]) -> None:
    asked: set[str] = set()

    class Noting(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.add(name)
            return super().__getitem__(name)

    try:
        result = program(Noting((name, tracked(size, name)) for name, size in zip("abc", sizes, strict=True)))
    except ZeroDivisionError:
        return
    assert {leaf.origin[-1] for leaf in origins(expression_of(result))} == asked


def test_evaluate_gives_none_when_a_new_size_divides_by_zero() -> None:
    expression = expression_of(tracked(32) // tracked(4, "heads"))
    assert evaluate(expression, {}) == 8
    assert evaluate(expression, {("attribute", "blocks.0", "heads"): 0}) is None


def test_expression_of_a_running_total_is_evaluated_however_long() -> None:
    offset: Any = 0
    for _ in range(5000):
        offset = offset + tracked(3)
    assert evaluate(expression_of(offset), {("attribute", "blocks.0", "dim"): 2}) == 10000
    assert {leaf.origin[-1] for leaf in origins(expression_of(offset))} == {"dim"}


def test_expression_that_uses_itself_twice_at_every_step_is_evaluated_once_a_step() -> None:
    total: Any = tracked(1)
    for _ in range(200):
        total = total + total
    assert evaluate(expression_of(total), {("attribute", "blocks.0", "dim"): 3}) == 3 * 2**200
    assert len(list(origins(expression_of(total)))) == 1


def test_comparisons_note_what_is_found_equal_and_nothing_else() -> None:
    dim, width = tracked(32), tracked(32, "width")
    noted: list[tuple[int, int]] = []
    other: list[tuple[int, int]] = []
    assert dim == width
    with comparisons(noted, other):
        assert dim == width
        assert dim != tracked(33)
        assert not dim != 32  # noqa: SIM202 - what a user's `if a != b: raise` does
        assert 32 == dim  # noqa: SIM300
        assert dim != "32"
        assert dim == 32.0
    assert dim == width
    assert [(int(one), int(other)) for one, other in noted] == [(32, 32)] * 3
    assert noted[0][0] is dim
    assert noted[0][1] is width
    assert [(int(one), int(other)) for one, other in other] == [(32, 33)]


def test_comparisons_inside_comparisons_are_noted_once() -> None:
    outer: list[tuple[int, int]] = []
    inner: list[tuple[int, int]] = []
    with comparisons(outer, []):
        with comparisons(inner, []):
            assert tracked(4) == 4
        assert tracked(5) == 5
    assert [int(one) for one, _ in inner] == [4]
    assert [int(one) for one, _ in outer] == [5]


def test_tracked_serves_wherever_code_wants_an_integer() -> None:
    two, three = tracked(2), tracked(3, "three")
    assert list(range(three)) == [0, 1, 2]
    assert "abcdef"[two] == "c"
    assert [0, 1, 2, 3][:three] == [0, 1, 2]
    assert [7] * three == three * [7] == [7, 7, 7]
    assert {2: "two"}[two] == "two"
    assert {two: "two"}[2] == "two"  # type: ignore[index]
    assert f"{two} {two:03d} {two!r}" == "2 002 2"
    assert json.dumps({"heads": two}) == '{"heads": 2}'
    assert isinstance(two, int)
    assert torch.zeros(two, three).shape == (2, 3)
    assert torch.empty(6).view(two, three).shape == (2, 3)


def test_tracked_leaves_its_memory_behind_when_pickled_and_keeps_it_when_copied() -> None:
    heads = tracked(4)
    assert type(pickle.loads(pickle.dumps(heads))) is int
    for same in (copy(heads), deepcopy(heads), deepcopy([heads])[0]):
        assert same == heads
        assert expression_of(same) == expression_of(heads)
