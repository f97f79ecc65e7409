from __future__ import annotations

import pytest
from pydantic import ValidationError

from penjing.plan import Plan
from penjing.plan.plan import spans

SMALL = Plan(
    kept={"conv1": (0, 1, 2, 5), "conv2": (7,)}, dropped=("layer2.1",), sizes={"conv1": 8, "conv2": 8}
)


def test_plan_counts_the_units_that_each_axis_keeps() -> None:
    assert SMALL.counts() == {"conv1": 4, "conv2": 1}


def test_plan_survives_json() -> None:
    assert Plan.model_validate_json(SMALL.model_dump_json()) == SMALL


def test_plan_prints_axis_by_axis() -> None:
    assert str(SMALL).splitlines() == [
        "conv1      4 of 8      0-2 5",
        "conv2      1 of 8      7",
        "drops layer2.1",
    ]


def test_plan_prints_that_nothing_is_removed_when_empty() -> None:
    assert str(Plan()) == "nothing is removed"


@pytest.mark.parametrize("units", [(), (1, 1), (2, 1), (-1, 0)])
def test_plan_refuses_units_that_are_not_increasing_indices(units: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        Plan(kept={"conv1": units})


def test_plan_refuses_fields_of_another_version() -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate({"kept": {}, "masks": {}})


def test_plan_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        SMALL.dropped = ()  # type: ignore[misc]


def test_diff_of_a_plan_with_itself_is_nothing() -> None:
    difference = SMALL.diff(SMALL)
    assert not difference
    assert str(difference) == "no difference"


def test_diff_tells_lost_and_gained_units_and_branches() -> None:
    other = Plan(kept={"conv1": (0, 2, 6)}, dropped=("layer3.0",), sizes={"conv1": 8})
    difference = SMALL.diff(other)
    assert difference.axes["conv1"].lost == (1, 5)
    assert difference.axes["conv1"].gained == (6,)
    assert difference.axes["conv2"].lost == ()
    assert difference.axes["conv2"].gained == (0, 1, 2, 3, 4, 5, 6)
    assert (difference.dropped, difference.restored) == (("layer3.0",), ("layer2.1",))
    assert str(difference).splitlines() == [
        "conv1  4 -> 3  - 1 5  + 6",
        "conv2  1 -> all  + 0-6",
        "drops layer3.0",
        "restores layer2.1",
    ]


def test_diff_is_nothing_when_a_plan_keeps_all_by_name_or_in_silence() -> None:
    assert not Plan().diff(Plan(kept={"a": (0, 1)}, sizes={"a": 2}))


def test_diff_reverses() -> None:
    other = Plan(kept={"conv1": (0, 2, 6)})
    there, back = SMALL.diff(other), other.diff(SMALL)
    assert {name: change.lost for name, change in there.axes.items()} == {
        name: change.gained for name, change in back.axes.items()
    }
    assert there.dropped == back.restored


def test_spans_joins_neighbours_and_cuts_long_lists_off() -> None:
    assert spans((0, 1, 2, 4, 6, 7)) == "0-2 4 6-7"
    text = spans(tuple(range(0, 200, 2)), width=20)
    assert text == "0 2 4 6 8 10 12 14 ..."
