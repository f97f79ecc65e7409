from __future__ import annotations

import torch
from torch import Tensor, nn

from penjing.devices.fusion import folded
from penjing.network import trace
from tests.devices.models import Chain, image, residual


def test_norm_and_activation_go_into_the_convolution_before_them() -> None:
    parts = folded(trace(residual(), image()).operators)
    assert parts == {
        "batch_norm": "conv2d",
        "relu": "conv2d",
        "batch_norm_1": "conv2d_1",
        "relu_1": "conv2d_1",
    }


class Shared(nn.Module):
    """The convolution's output is read twice: neither reader may be computed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.relu(y) + y


def test_activation_costs_something_when_its_input_is_read_elsewhere_too() -> None:
    assert folded(trace(Shared().eval(), image()).operators) == {}


class Constant(nn.Module):
    """Half of it is known before any input is."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 3))
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(nn.functional.linear(x, torch.tanh(self.table * 2)))


def test_what_depends_on_no_input_costs_nothing() -> None:
    net = trace(Constant().eval(), torch.randn(2, 3))
    assert folded(net.operators) == {"mul": "", "tanh": "", "dropout": ""}


def test_batch_norm_after_a_linear_layer_costs_something() -> None:
    net = trace(Chain(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()).eval(), torch.randn(2, 3))
    assert folded(net.operators) == {}
