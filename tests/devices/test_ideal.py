from __future__ import annotations

from penjing.devices import Figure, Macs, Params
from penjing.network import trace
from tests.devices.models import image, residual


def test_macs_are_those_of_the_narrower_network_itself() -> None:
    counts = {"stem.0": 12, "inner": 20}
    wanted = trace(residual(counts), image()).macs
    # 16 x 16 pixels; the head reads the mean.
    assert wanted == 256 * (3 * 9 * 12 + 12 * 9 * 20 + 20 * 12) + 12 * 5
    assert Macs().figure(trace(residual(), image()), counts) == Figure("macs", wanted, "macs", "analytic")


def test_params_are_those_of_the_narrower_network_itself() -> None:
    counts = {"stem.0": 12, "inner": 20}
    wanted = sum(parameter.numel() for parameter in residual(counts).parameters())
    assert Params().figure(trace(residual(), image()), counts) == Figure(
        "params", wanted, "params", "analytic"
    )
