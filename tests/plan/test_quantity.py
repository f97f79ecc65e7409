from __future__ import annotations

import pytest

from penjing.plan import Budget
from penjing.plan.quantity import enough, written


@pytest.mark.parametrize(
    ("quantity", "value", "expected"),
    [
        ("latency", 0.0123, "12.3 us"), ("latency", 1.5, "1.5 ms"), ("latency", 1234.5, "1.23 s"),
        ("latency", 999.9, "1 s"), ("latency", 999.4, "999 ms"), ("macs", 0, "0"),
        ("macs", 61_893_056, "61.9 M"), ("macs", 999_900, "1 M"),
        ("params", 12, "12"), ("size", 2_000_000, "2 MB"), ("memory", 512, "512 B"), ("units", 0.5, "0.5x"),
    ],
)  # fmt: skip
def test_quantity_is_written_with_its_unit(quantity: str, value: float, expected: str) -> None:
    assert written(quantity, value) == expected


@pytest.mark.parametrize(
    ("quantity", "value", "expected"),
    [
        ("macs", 32508, "macs=32.6K"), ("macs", 17, "macs=17"), ("macs", 999_500, "macs=1M"),
        ("latency", 0.0162008, "latency=16.3us"), ("latency", 12.34, "latency=12.4ms"),
        ("size", 5931, "size=5.94KB"), ("memory", 512, "memory=512B"), ("params", 1234, "params=1.24K"),
    ],
)  # fmt: skip
def test_bound_that_is_enough_can_be_pasted(quantity: str, value: float, expected: str) -> None:
    assert enough(quantity, value) == expected
    assert Budget.parse(expected).limits({})[quantity] >= value
