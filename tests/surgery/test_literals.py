"""Numbers among the arguments of a call: found, and replaced."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.surgery.literals import numbers, plain, replaced
from penjing.surgery.tracked import Leaf, Tracked

LEAVES = (
    st.integers(-5, 5)
    | st.floats(-5, 5)
    | st.booleans()
    | st.none()
    | st.just(...)
    | st.text("ab", max_size=2)
    | st.builds(slice, st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3))
)
ARGUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("xyz", min_size=1, max_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


def test_numbers_are_found_in_every_container_a_call_may_hold() -> None:
    x = torch.ones(2)
    call = ((x, [2, (3, 4.5)], slice(None, 5), True, None, "6"), {"dim": -1, "keepdim": False})
    assert dict(numbers(call)) == {
        (0, 1, 0): 2,
        (0, 1, 1, 0): 3,
        (0, 1, 1, 1): 4.5,
        (0, 2, "stop"): 5,
        (1, "dim"): -1,
    }


@given(ARGUMENTS)
def test_replacing_every_number_changes_the_numbers_and_nothing_else(value: Any) -> None:
    found = dict(numbers(value))
    changes = {path: number + 100 for path, number in found.items()}
    changed = replaced(value, changes)
    assert dict(numbers(changed)) == changes
    assert replaced(changed, found) == value
    assert type(changed) is type(value) or () in changes


@given(ARGUMENTS)
def test_replacing_nothing_gives_the_very_same_object(value: Any) -> None:
    assert replaced(value, {}) is value


def test_replacing_one_number_leaves_tensors_and_siblings_as_they_are() -> None:
    x, sizes = torch.ones(2), [4, 8]
    (args, kwargs) = replaced(((x, sizes, (1, 2)), {"dim": 1}), {(0, 2, 1): 5})
    assert args[0] is x
    assert args[1] is sizes
    assert args[2] == (1, 5)
    assert kwargs == {"dim": 1}


def test_plain_forgets_every_memory_and_keeps_values() -> None:
    heads = Tracked(4, Leaf(("attribute", "", "heads"), 4))
    made = plain(((heads, [heads, True], slice(heads, None)), {"size": torch.Size([heads, 2])}))
    assert made == ((4, [4, True], slice(4, None)), {"size": (4, 2)})
    assert {type(number) for _, number in numbers(made)} == {int}
    assert made[0][1][1] is True
