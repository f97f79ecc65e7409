"""Sparsity by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penjing.compress.masks import Cubic, Exponential, Iterative, Multistep, OneShot, Schedule
from penjing.errors import PenjingError

SCHEDULES: list[Schedule] = [
    OneShot(0.8, 5),
    Iterative(0.8, 4, every=10, begin=3), Cubic(0.8, 10, 50, 4), Cubic(0.8, 0, 7, initial=0.3),
    Exponential(0.8, 10, 50, 7), Multistep({20: 0.5, 0: 0.1, 40: 0.8}),
]  # fmt: skip


def test_every_schedule_has_a_case() -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(deeper for sub in kind.__subclasses__() for deeper in below(sub))}

    finals = {kind for kind in below(Schedule) if not getattr(kind, "__abstractmethods__", None)}
    assert finals == {type(schedule) for schedule in SCHEDULES}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedule_never_goes_back_and_arrives(schedule: Schedule) -> None:
    shares = [schedule.at(step) for step in range(100)]
    assert shares == sorted(shares)
    assert shares[-1] == 0.8
    assert all(0 <= share < 1 for share in shares)


@pytest.mark.parametrize("initial", [0.0, 0.2])
def test_cubic_is_equation_1_of_zhu_and_gupta(initial: float) -> None:
    t0, n, delta, final = 30, 8, 5, 0.9
    schedule = Cubic(final, begin=t0, end=t0 + n * delta, every=delta, initial=initial)
    assert schedule.at(t0 - 1) == 0
    for step in range(t0, t0 + n * delta + 1):
        t = t0 + (step - t0) // delta * delta  # masks change every delta steps, and stay in between
        by_hand = final + (initial - final) * (1 - (t - t0) / (n * delta)) ** 3
        assert schedule.at(step) == pytest.approx(by_hand)


def test_rounds_take_the_same_share_of_what_is_left() -> None:
    schedule = Iterative(0.875, 3, every=10, begin=5)
    assert [schedule.at(step) for step in (4, 5, 14, 15, 25, 99)] == pytest.approx(
        [0, 0.5, 0.5, 0.75, 0.875, 0.875]
    )


def test_exponential_halves_and_halves_again() -> None:
    schedule = Exponential(0.9375, begin=0, end=4)
    assert [schedule.at(step) for step in range(5)] == pytest.approx([0, 0.5, 0.75, 0.875, 0.9375])


def test_given_steps_hold_until_the_next() -> None:
    schedule = Multistep({10: 0.5, 20: 0.8})
    assert [schedule.at(step) for step in (0, 9, 10, 19, 20, 99)] == [0, 0, 0.5, 0.5, 0.8, 0.8]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Cubic(0.9, 10, 10), "PJ817"), (lambda: Exponential(0.9, 10, 3), "PJ817"),
        (lambda: Cubic(0.5, 0, 9, initial=0.6), "PJ817"), (lambda: Cubic(0.5, 0, 9, every=0), "PJ817"),
        (lambda: Iterative(0.5, 0), "PJ817"), (lambda: Multistep({}), "PJ817"),
        (lambda: Multistep({0: 0.5, 1: 0.4}), "PJ817"), (lambda: Multistep({0: 1.0}), "PJ811"),
        (lambda: OneShot(1.0), "PJ811"), (lambda: Cubic(-0.1, 0, 9), "PJ811"),
    ],
)  # fmt: skip
def test_schedule_that_cannot_be_is_one_clear_error(make: Callable[[], Schedule], code: str) -> None:
    with pytest.raises(PenjingError) as caught:
        make()
    assert caught.value.code == code
    assert code == "PJ811" or "(" in caught.value.what or "goes from" in caught.value.what
