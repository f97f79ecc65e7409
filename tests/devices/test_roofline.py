"""Estimates by a sheet, against sums made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from penjing.devices import Roofline, Sheet, get
from penjing.network import Network, trace
from penjing.run.pricing import estimated
from tests.devices.models import Chain, Residual
from tests.plan import networks


def device(**parts: Any) -> Roofline:
    record: dict[str, Any] = {
        "name": "board",
        "summary": "for tests",
        "source": "made up",
        "error": 0.25,
        "compute": {"gmacs_per_s": 1.0},
        "memory": {"gb_per_s": 1e6},
        **parts,
    }
    return Roofline(Sheet.model_validate(record))


def convolutions() -> Network:
    """3 x 8 x 8 images; 10 channels, as many depthwise, 4 features."""
    layers = [
        nn.Conv2d(3, 10, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(10, 10, 3, groups=10, bias=False),
        nn.Flatten(), nn.Linear(360, 4, bias=False),
    ]  # fmt: skip
    return trace(Chain(*layers).eval(), torch.randn(1, 3, 8, 8))


CONV, DEPTHWISE, LINEAR = 3 * 9 * 10 * 64, 9 * 10 * 36, 360 * 4


def test_time_is_that_of_the_multiplications_where_memory_is_quick() -> None:
    found = device().estimate(convolutions()).total("latency", {})
    assert found == pytest.approx((CONV + DEPTHWISE + LINEAR) / 1e6, rel=1e-3)


def test_efficiencies_hold_for_their_kind() -> None:
    slow = device(compute={"gmacs_per_s": 1.0, "efficiency": 0.5, "depthwise_efficiency": 0.1})
    found = slow.estimate(convolutions()).total("latency", {})
    assert found == pytest.approx((2 * (CONV + LINEAR) + 10 * DEPTHWISE) / 1e6, rel=1e-3)


def test_widths_are_padded_to_the_sheets_multiples() -> None:
    padding = device(align={"conv_out": 8, "linear_out": 8})
    found = padding.estimate(convolutions()).total("latency", {})
    assert found == pytest.approx((1.6 * CONV + 1.6 * DEPTHWISE + 2 * LINEAR) / 1e6, rel=1e-3)


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_time_is_that_of_the_bytes_where_multiplications_are_quick(precision: str, size: int) -> None:
    slow = device(compute={"gmacs_per_s": 1e9}, memory={"gb_per_s": 1.0}, precision=precision)
    conv, depthwise = 192 + 270 + 640, 640 + 90 + 360
    linear = 360 + 1440 + 4
    found = slow.estimate(convolutions()).total("latency", {})
    assert found == pytest.approx(size * (conv + depthwise + linear) / 1e6)


def test_what_fits_the_cache_moves_at_its_rate() -> None:
    """832 activations of the first layer do not fit 1.9 KB of float32, the weights of all layers neither."""
    memory = {"gb_per_s": 1.0, "cache_kb": 1.9, "cache_gb_per_s": 10.0}
    found = device(compute={"gmacs_per_s": 1e9}, memory=memory).estimate(convolutions())
    far = 832 + 270 + 1000 + 90 + 1440
    near = 364
    assert found.total("latency", {}) == pytest.approx(4 * (far + near / 10) / 1e6)


def test_overheads_are_paid_once_a_call_and_once_an_operator() -> None:
    dear = device(compute={"gmacs_per_s": 1e9}, overhead={"call_us": 500.0, "operator_us": 100.0})
    estimate = dear.estimate(convolutions())  # the relu is folded, flattening moves nothing
    assert estimate.total("latency", {}) == pytest.approx(0.5 + 3 * 0.1, rel=1e-3)
    assert estimate.quantities == ("latency",)


def test_energy_is_work_traffic_and_time() -> None:
    energy = {"pj_per_mac": 2.0, "pj_per_byte": 3.0, "static_w": 0.5}
    net = convolutions()
    estimate = device(energy=energy, overhead={"call_us": 10.0}).estimate(net)
    moved = 4 * (192 + 270 + 640 + 640 + 90 + 360 + 360 + 1440 + 4)
    work = 2.0 * (CONV + DEPTHWISE + LINEAR) + 3.0 * moved
    assert estimate.total("energy", {}) == pytest.approx(work * 1e-9 + 0.5 * estimate.total("latency", {}))
    figure = estimate.figure("energy", {})
    assert (figure.unit, figure.provenance, figure.error) == ("mJ", "analytic", 0.25)


def test_narrower_networks_cost_what_the_network_cut_so_costs() -> None:
    """Widths asked for, against a network that was built with them."""
    energy = {"pj_per_mac": 2.0, "pj_per_byte": 3.0}
    board = device(energy=energy, overhead={"operator_us": 1.0}, align={"conv_out": 4})
    image = torch.randn(1, 3, 16, 16)
    whole = board.estimate(trace(Residual().eval(), image))
    small = board.estimate(trace(Residual(width=20, inner=18).eval(), image))
    assert whole.figures({"stem.0": 20, "inner": 18}) == pytest.approx(small.figures({}))
    assert small.total("latency", {}) < whole.total("latency", {})


def test_dropped_branch_costs_nothing() -> None:
    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.last = nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(x + self.down(self.up(x).relu()))

    net = trace(Skipping().eval(), torch.randn(1, 8))
    (switch,) = net.switches
    gone = device().estimate(net).total("latency", {switch: 0})
    assert gone == pytest.approx(8 * 4 / 1e6, rel=1e-2)


def test_operators_and_the_constant_add_up() -> None:
    board = device(energy={"pj_per_mac": 2.0, "pj_per_byte": 3.0, "static_w": 1.0}, overhead={"call_us": 9.0})
    net = convolutions()
    estimate = board.estimate(net)
    for quantity in estimate.quantities:
        parts = sum(estimate.operator(quantity, operator, {}) for operator in net.operators)
        assert estimate.constant(quantity) + parts == pytest.approx(estimate.total(quantity, {}))


@pytest.mark.parametrize("name", ["phone-cpu", "cortex-m7", "npu"])
@pytest.mark.parametrize("zoo", ["resnet_bottleneck", "shufflenet_v2", "mini_llama", "mobilenet_v2"])
def test_lines_of_widths_cost_what_each_width_costs(name: str, zoo: str) -> None:
    """What the planner asks for at once, against one width after the other."""
    board, net = get(name), networks.zoo(zoo)
    assert isinstance(board, Roofline)
    estimate = board.estimate(net)
    for quantity in estimate.quantities:
        cost = estimated(net, estimate)[quantity]
        for axis in net.prunable[:4]:
            widths = tuple(range(1, axis.size + 1, max(1, axis.size // 7)))
            line = cost.line((axis.name,), widths, {})
            single = [estimate.total(quantity, {axis.name: width}) for width in widths]
            assert line - line[0] == pytest.approx(np.array(single) - single[0])
