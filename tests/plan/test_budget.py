from __future__ import annotations

import dataclasses
import doctest
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import PenjingError
from penjing.plan import QUANTITIES, Bound, Budget, Floor, budget

BEFORE = {"latency": 8.0, "macs": 4e8, "params": 1e6, "size": 4e6, "memory": 1e5}


def refused(text: str) -> PenjingError:
    with pytest.raises(PenjingError) as caught:
        Budget.parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "quantity", "limit"),
    [
        ("latency=0.5x", "latency", 4.0),
        ("latency=2ms", "latency", 2.0),
        ("latency=1500us", "latency", 1.5),
        ("latency=1500 µs", "latency", 1.5),
        ("latency=0.003s", "latency", 3.0),
        ("latency=2.5e3ns", "latency", 0.0025),
        ("macs=100M", "macs", 1e8),
        ("macs=.25G", "macs", 2.5e8),
        ("macs=12k", "macs", 12e3),
        ("params=1.2M", "params", 1.2e6),
        ("params=7B", "params", 7e9),
        ("params=123456", "params", 123456.0),
        ("params=0.25X", "params", 2.5e5),
        ("size=2MB", "size", 2e6),
        ("size=2MiB", "size", 2.0 * 2**20),
        ("size=900 kB", "size", 9e5),
        ("size=1GiB", "size", 2.0**30),
        ("memory=512KB", "memory", 512e3),
        ("memory=100B", "memory", 100.0),
        (" latency = 0.5x ", "latency", 4.0),
    ],
)
def test_budget_reads_amounts(text: str, quantity: str, limit: float) -> None:
    assert Budget.parse(text).limits(BEFORE) == {quantity: pytest.approx(limit, rel=1e-12)}


def test_budget_holds_several_bounds_at_once() -> None:
    parsed = Budget.parse("size=2MB,latency=0.5x")
    assert parsed.limits(BEFORE) == {"latency": 4.0, "size": 2e6}
    assert parsed == Budget(latency="0.5x", size="2MB")


def test_budget_reads_plain_numbers_as_absolute_amounts() -> None:
    given_in_numbers = Budget(latency=2, macs=1e8, params=1_000, size=2_000_000, memory=5.5)
    assert given_in_numbers.limits({}) == {
        "latency": 2.0,
        "macs": 1e8,
        "params": 1000.0,
        "size": 2e6,
        "memory": 5.5,
    }


def test_budget_on_units_is_a_share_and_no_limit() -> None:
    parsed = Budget.parse("units=0.5x,macs=0.4x")
    assert parsed.share == 0.5
    assert parsed.limits(BEFORE) == {"macs": 1.6e8}
    assert Budget.parse("macs=0.4x").share is None


def test_budget_may_allow_more_than_there_is() -> None:
    assert Budget.parse("latency=1.5x").limits(BEFORE) == {"latency": 12.0}


def test_budget_is_equal_when_it_means_the_same() -> None:
    assert Budget(latency="2ms") == Budget(latency="2000us")
    assert Budget(latency="2ms") != Budget(latency="2x")


@given(
    st.dictionaries(
        st.sampled_from(["latency", "macs", "params", "size", "memory", "units"]),
        st.floats(1e-3, 1e3),
        min_size=1,
    )
)
def test_budget_survives_its_own_text(shares: dict[str, float]) -> None:
    parsed = Budget.parse(",".join(f"{quantity}={share!r}x" for quantity, share in shares.items()))
    assert Budget.parse(str(parsed)) == parsed
    assert {bound.quantity: bound.value for bound in parsed.bounds} == shares


def test_budget_has_one_field_for_every_quantity() -> None:
    for quantity in QUANTITIES:
        assert Budget(**{quantity: "0.5x"}).bounds == (Bound(quantity, 0.5, True, "0.5x"),)


def test_budget_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Budget(latency="2ms").bounds = ()  # type: ignore[misc]


def test_budget_names_the_nearest_of_an_unknown_quantity() -> None:
    error = refused("latncy=0.5x")
    assert error.code == "PJ501"
    assert error.tries[0] == "`latency=2ms`"
    assert len(error.tries) == 3


@pytest.mark.parametrize(
    "text",
    [
        "latency=banana",
        "latency=",
        "latency=2",
        "latency=2MB",
        "size=2",
        "size=2M",
        "size=2ms",
        "macs=2MB",
        "latency=-1ms",
        "latency=-0.5x",
        "latency=0x",
        "macs=0",
        "latency=1e999ms",
        "latency=nanx",
        "latency=50%",
        "latency=0.5x0.5x",
        "units=5",
        "latency",
        "0.5x",
        "latency=2ms;size=2MB",
    ],
)
def test_budget_refuses_nonsense(text: str) -> None:
    error = refused(text)
    assert error.code == "PJ502"
    assert error.tries


@pytest.mark.parametrize("amount", [True, math.nan, math.inf, -1.0, 0, ""])
def test_budget_refuses_numbers_that_are_no_amount(amount: Any) -> None:
    with pytest.raises(PenjingError) as caught:
        Budget(latency=amount)
    assert caught.value.code == "PJ502"


def test_budget_refuses_a_plain_number_of_units() -> None:
    with pytest.raises(PenjingError) as caught:
        Budget(units=0.5)
    assert caught.value.code == "PJ502"


def test_budget_says_how_a_percentage_is_written() -> None:
    assert "0.5x" in refused("latency=50%").because


@pytest.mark.parametrize("text", ["", " ", ",", "latency=2ms,latency=0.5x"])
def test_budget_refuses_no_bound_and_two_of_one_quantity(text: str) -> None:
    assert refused(text).code == "PJ504"


def test_budget_refuses_no_bound_at_all() -> None:
    with pytest.raises(PenjingError) as caught:
        Budget()
    assert caught.value.code == "PJ504"


def test_budget_refuses_a_share_of_what_is_not_known() -> None:
    with pytest.raises(PenjingError) as caught:
        Budget(latency="0.5x", macs="1M").limits({"macs": 1e7})
    assert caught.value.code == "PJ507"
    assert "`latency=0.5x`" in caught.value.what


def test_budget_docstring_example_is_true() -> None:
    outcome = doctest.testmod(budget)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_budget_takes_a_floor_for_the_metric() -> None:
    parsed = Budget.parse("metric >= 0.92, latency=0.5x")
    assert parsed == Budget(latency="0.5x", metric=0.92) == Budget.parse(str(parsed))
    assert str(parsed) == "latency=0.5x,metric>=0.92"
    assert parsed.floor == Floor(0.92, False, "0.92")
    assert parsed.limits(BEFORE) == {"latency": 4.0}
    assert parsed != Budget(latency="0.5x")
    assert Budget(latency="0.5x").floor is None


def test_budget_may_be_a_floor_alone() -> None:
    alone = Budget(metric="0.99x")
    assert alone.bounds == ()
    assert alone.limits({}) == {}
    assert alone.floor is not None
    assert alone.floor.limit(0.8) == pytest.approx(0.792)
    assert Budget.parse("metric>=-0.5").floor == Floor(-0.5, False, "-0.5")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metric=0.92", "`metric>=0.92`"),
        ("latency>=0.5x", "`latency=0.5x`"),
        ("metric>=", "`metric>=0.92`"),
        ("metric>=92%", "`metric>=0.99x`"),
        ("metric>=0x", "`metric>=0.99x`"),
        ("metric>=-0.5x", "`metric>=0.99x`"),
        ("metric>=1e999", "`metric>=0.92`"),
    ],
)
def test_budget_refuses_a_floor_that_is_none_with_a_way_out(text: str, says: str) -> None:
    error = refused(text)
    assert error.code == "PJ502"
    assert says in error.tries
    assert error.because


def test_budget_refuses_two_floors() -> None:
    assert refused("metric>=0.9,metric>=0.8").code == "PJ504"
    with pytest.raises(PenjingError, match="PJ502"):
        Budget(metric=True)
