from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from penjing.devices import Stairs
from penjing.devices.terms import FAMILIES, VIEWS, kind, padded_channels, terms_of
from penjing.network import Network, trace
from tests.devices.models import Chain, image, residual

STAIRS = Stairs(conv_out=16, conv_in=16, conv_even=4, depthwise_even=4, linear_out=16)
PIXELS = 16 * 16


def _net() -> Network:
    return trace(residual(), image())


def _terms(net: Network, name: str, counts: dict[str, int]) -> dict[str, float]:
    return terms_of(next(op for op in net.operators if op.name == name), counts, STAIRS)


def test_convolution_is_priced_by_padded_channels() -> None:
    terms = _terms(_net(), "conv2d_1", {"stem.0": 20, "inner": 33})
    # 20 inputs are padded to 32, 33 outputs to 48.
    assert terms["conv:macs|3x3/1x1@16x16"] == pytest.approx(PIXELS * 9 * 32 * 48 / 1e8)
    assert terms["conv:bytes"] == pytest.approx(PIXELS * (20 + 33) * 4 / 1e7)
    assert terms["conv:weights"] == pytest.approx(20 * 33 * 9 * 4 / 1e7)


def test_convolution_of_odd_inputs_is_priced_as_unfolded() -> None:
    terms = _terms(_net(), "conv2d_1", {"stem.0": 21, "inner": 33})
    assert terms["conv_odd:macs|3x3"] == pytest.approx(PIXELS * 9 * 21 * 33 / 1e8)
    assert terms["conv_odd:columns"] == pytest.approx(PIXELS * 9 * 21 * 4 / 1e7)


def test_first_convolution_is_a_thing_of_its_own() -> None:
    assert "conv_few:macs|3x3/1x1@16x16" in _terms(_net(), "conv2d", {})


@pytest.mark.parametrize(
    ("outs", "ins", "groups", "padded"),
    [
        (33, 20, 1, (48, 32)),
        (33, 21, 1, (33, 21)),
        (33, 3, 1, (48, 3)),
        (36, 1, 36, (48, 1)),
        (35, 1, 35, (35, 1)),
        (40, 5, 4, (40, 5)),
    ],
)
def test_channels_are_padded_as_the_device_does(
    outs: int, ins: int, groups: int, padded: tuple[int, int]
) -> None:
    assert padded_channels(outs, ins, groups, STAIRS) == padded


def test_channels_are_left_alone_when_the_device_has_no_steps() -> None:
    assert padded_channels(33, 21, 1, Stairs()) == (33, 21)


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Conv2d(3, 36, 1), nn.Conv2d(36, 36, 5, stride=2, padding=2, groups=36)
        self.end = nn.Conv2d(36, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.deep(self.wide(x)))


def test_depthwise_convolution_is_priced_by_channels_and_whether_they_are_even() -> None:
    net = trace(Depthwise().eval(), image())
    assert _terms(net, "conv2d_1", {})["depthwise:macs|5x5/2x2"] == pytest.approx(64 * 25 * 48 / 1e8)
    odd = _terms(net, "conv2d_1", {net.prunable[0].name: 35})
    assert odd["depthwise_odd:macs|5x5/2x2"] == pytest.approx(64 * 25 * 35 / 1e8)


def test_linear_layer_is_priced_by_rows_and_padded_outputs() -> None:
    net = trace(Chain(nn.Linear(10, 33), nn.Linear(33, 5)).eval(), torch.randn(2, 7, 10))
    terms = _terms(net, "linear", {})
    assert terms["linear:macs|14 ragged"] == pytest.approx(14 * 10 * 48 / 1e8)
    assert terms["linear:weights"] == pytest.approx(330 * 4 / 1e7)
    assert terms["linear:bytes"] == pytest.approx(14 * (10 + 33) * 4 / 1e7)


@pytest.mark.parametrize(("ins", "outs", "ragged"), [(32, 48, ""), (33, 48, " ragged"), (32, 40, " ragged")])
def test_linear_layer_of_widths_beside_the_step_has_a_rate_of_its_own(
    ins: int, outs: int, ragged: str
) -> None:
    net = trace(Chain(nn.Linear(ins, outs), nn.Linear(outs, 5)).eval(), torch.randn(2, 7, ins))
    assert f"linear:macs|14{ragged}" in _terms(net, "linear", {})


class Attention(nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value)


def test_attention_is_priced_by_its_scores() -> None:
    net = trace(Attention(), tuple(torch.randn(1, 3, rows, 24) for rows in (5, 7, 7)))
    terms = _terms(net, "scaled_dot_product_attention", {})
    assert terms["attention:scores"] == pytest.approx(3 * 5 * 7 * 4 / 1e7)
    assert terms["attention:macs"] == pytest.approx(3 * 5 * 7 * (24 + 32) / 1e8)


def test_recurrent_layer_is_priced_by_steps() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 10, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0]

    net = trace(Recurrent().eval(), torch.randn(2, 9, 6))
    operator = next(op for op in net.operators if kind(op) == "lstm")
    terms = terms_of(operator, {}, STAIRS)
    assert terms["recurrent:macs"] == pytest.approx(2 * 9 * (6 * 40 + 10 * 40) / 1e8)
    assert terms["recurrent:weights"] >= 9 * (6 * 40 + 10 * 40) * 4 / 1e7


def test_everything_else_is_priced_by_bytes() -> None:
    net = _net()
    terms = _terms(net, "add", {"stem.0": 16})
    assert terms == {"add:bytes": pytest.approx(3 * PIXELS * 16 * 4 / 1e7), "other:calls": 1e-3}


@pytest.fixture(scope="module")
def growing() -> list[dict[str, dict[str, float]]]:
    """The terms of an operator of each kind, at growing widths."""
    found = []
    for width in (16, 32, 64):
        net = trace(Every(width).eval(), (torch.randn(2, 12, width), torch.randn(2, width, 4, 4, 4)))
        found.append({kind(operator): terms_of(operator, {}, STAIRS) for operator in net.operators})
    return found


OTHERS_OF_THE_SAME_FAMILY = {
    "_scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
    "rnn_relu": "rnn_tanh",
    "_unsafe_view": "view",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_quantities_grow_with_the_widths_of_every_family(
    name: str, growing: list[dict[str, dict[str, float]]]
) -> None:
    """Whatever the rates, wider may not be cheaper."""
    twin = OTHERS_OF_THE_SAME_FAMILY.get(name, name)
    assert FAMILIES[name] is FAMILIES[twin]
    for narrow, wide in itertools.pairwise(sizes[twin] for sizes in growing):
        assert narrow.keys() == wide.keys()
        assert all(narrow[what] <= wide[what] for what in narrow)
        assert twin in VIEWS or narrow != wide


class Every(nn.Module):
    """At least one operator of nearly every family."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(width, width, 3), nn.Conv2d(width, width, 1)
        self.conv3 = nn.Conv3d(width, width, 1)
        self.linear = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(width))
        self.lstm, self.gru = nn.LSTM(width, width), nn.GRU(width, width)
        self.rnn = nn.RNN(width, width)

    def forward(self, x: Tensor, block: Tensor) -> tuple[Tensor, ...]:
        y = self.linear(x)
        rows = (
            y.reshape(-1, y.shape[-1]).flatten(0).unflatten(0, (24, -1)).unsqueeze(0).squeeze(0).view(24, -1)
        )
        return (
            self.conv1(x.transpose(1, 2)),
            self.conv2(block[:, :, 0]),
            self.conv3(block),
            torch.addmm(self.bias, rows, self.linear.weight),
            rows.mm(self.linear.weight),
            nn.functional.scaled_dot_product_attention(y, y, y),
            self.lstm(x)[0],
            self.gru(x)[0],
            self.rnn(x)[0],
            self.bias.expand(3, -1) * 2 + x.sum(),
        )
