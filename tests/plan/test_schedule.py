from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.plan import SPACINGS, Spacing, spaced

AMOUNTS = st.floats(1e-6, 1e12)


def test_every_spacing_has_a_name() -> None:
    assert set(get_args(Spacing)) == set(SPACINGS)


@given(st.sampled_from(list(SPACINGS)), AMOUNTS, AMOUNTS, st.integers(1, 12))
def test_limits_fall_and_end_at_the_target(
    spacing: Spacing, before: float, target: float, rounds: int
) -> None:
    limits = [spaced(before, target, number / rounds, spacing) for number in range(1, rounds + 1)]
    assert limits[-1] == target
    assert all(a >= b >= target for a, b in pairwise(limits))
    if target < before:
        assert all(limit <= before * (1 + 1e-12) for limit in limits)


@pytest.mark.parametrize(
    ("spacing", "limits"),
    [
        ("geometric", [1000 * 0.1 ** (n / 4) for n in (1, 2, 3, 4)]),
        ("linear", [775, 550, 325, 100]),
        # Zhu & Gupta, eq. 1: s_f (1 - (1 - t)^3), with s_f = 0.9 here
        ("cubic", [1000 * (1 - 0.9 * (1 - (1 - n / 4) ** 3)) for n in (1, 2, 3, 4)]),
    ],
)
def test_spacing_is_the_published_one(spacing: Spacing, limits: list[float]) -> None:
    assert [spaced(1000, 100, n / 4, spacing) for n in (1, 2, 3, 4)] == pytest.approx(limits, rel=1e-12)
