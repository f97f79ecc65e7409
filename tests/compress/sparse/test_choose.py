"""When one latency is less than another, for sure."""

from __future__ import annotations

import pytest

from penjing.compress.sparse.choose import surely_less


@pytest.mark.parametrize(
    ("one", "noise", "other_noise", "less"),
    [
        (0.96, 0.0, 0.0, True),
        (0.98, 0.0, 0.0, False),  # a place in memory is worth as much
        (1.0, 0.0, 0.0, False),
        (0.9, 0.03, 0.0, True),
        (0.9, 0.06, 0.0, False),
        (0.9, 0.0, 0.04, True),
        (0.9, 0.0, 0.06, False),
        (0.9, 0.03, 0.03, False),
    ],
)
def test_less_is_by_more_than_noise_of_both_and_by_three_percent(
    one: float, noise: float, other_noise: float, less: bool
) -> None:
    assert surely_less((one, noise), (1.0, other_noise)) == less
