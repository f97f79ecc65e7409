from __future__ import annotations

import random

import pytest

from penjing.devices.fit import Row, family_of, fit, priced, rate_of

TRUE = {"conv:macs|3x3": 1.3, "conv:macs|1x1": 1.1, "conv:bytes": 0.4, "other:calls": 2.0}


def networks(number: int, *, noise: float = 0.0, seed: int = 0) -> list[Row]:
    """Whole networks of random widths under known rates."""
    draw = random.Random(seed)
    rows = []
    for _ in range(number):
        terms = {name: draw.uniform(0.2, 2.0) for name in TRUE}
        ms = priced(terms, TRUE) * draw.uniform(1 - noise, 1 + noise)
        rows.append(Row(terms, ms, ms))
    return rows


def test_fit_predicts_networks_that_it_has_not_seen() -> None:
    rates = fit(networks(20))
    assert all(priced(row.terms, rates) == pytest.approx(row.ms, rel=0.02) for row in networks(50, seed=1))


def test_fit_is_not_led_astray_by_noise() -> None:
    rates = fit(networks(40, noise=0.05))
    errors = sorted(abs(priced(row.terms, rates) / row.ms - 1) for row in networks(50, seed=1))
    assert errors[25] < 0.03


def test_rates_are_never_negative() -> None:
    rows = [Row({"a:x": 1.0, "b:x": 1.0}, 1.0, 1.0), Row({"a:x": 1.0, "b:x": 3.0}, 0.5, 0.5)]
    assert min(fit(rows).values()) >= 0


def test_part_of_a_network_tells_apart_what_wholes_cannot() -> None:
    """`a` and `b` always occur alike: only the row of the part says which of them it is."""
    wholes = [Row({"a:x": size, "b:x": size}, 4 * size, 4 * size) for size in (1.0, 2.0, 3.0)]
    part = Row({"a:x": 1.0}, 3.0, 4.0, 0.2)
    rates = fit([*wholes, part])
    assert rates["a:x"] == pytest.approx(3.0, rel=0.05)
    assert rates["b:x"] == pytest.approx(1.0, rel=0.1)


def test_detail_never_seen_takes_the_rate_of_its_family() -> None:
    rates = fit(networks(20))
    assert rate_of(rates, "conv:macs|7x7") == rates["conv:macs"]
    assert 1.0 < rates["conv:macs"] < 1.4


def test_family_never_seen_takes_the_rate_of_the_plain_one() -> None:
    rates = {"conv:macs": 2.0}
    assert rate_of(rates, "conv_odd:macs|3x3") == rate_of(rates, "conv_few:macs") == 2.0
    assert rate_of(rates, "linear:macs|1") == 0.0


def test_family_is_what_stands_before_the_bar() -> None:
    assert family_of("conv:macs|3x3/1x1@8x8") == family_of("conv:macs") == "conv:macs"
