"""Operators that scale channels by a parameter: found wherever they are written, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.network import trace
from penjing.network.scaling import Scaling, scalings


class Scaled(nn.Module):
    """Parameters of several shapes, used in some way."""

    def __init__(self, how: Callable[[Scaled, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6))
        self.tall = nn.Parameter(torch.randn(6, 1, 1))
        self.square = nn.Parameter(torch.randn(5, 5))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("variance", torch.ones(6))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def found(how: Callable[[Scaled, Tensor], Tensor], shape: tuple[int, ...]) -> list[Scaling]:
    return list(scalings(trace(Scaled(how).eval(), torch.randn(shape)).trace).values())


IMAGES, TOKENS = (2, 6, 5, 5), (2, 5, 6)
WAYS = {
    "layer_norm": (lambda m, x: functional.layer_norm(x, (6,), m.weight, m.bias), TOKENS, -1),
    "rms_norm": (lambda m, x: functional.rms_norm(x, (6,), m.weight), TOKENS, -1),
    "group_norm": (lambda m, x: functional.group_norm(x, 2, m.weight, m.bias), IMAGES, -3),
    "instance_norm": (lambda m, x: functional.instance_norm(x, weight=m.weight, bias=m.bias), IMAGES, -3),
    "batch_norm": (lambda m, x: functional.batch_norm(x, m.mean, m.variance, m.weight, m.bias), IMAGES, -3),
    "product": (lambda m, x: m.weight * x, TOKENS, -1),
    "layer_scale": (lambda m, x: x * m.tall, IMAGES, -3),
}
OTHERS = {
    "product with a computed one": (lambda m, x: (1 + m.weight) * x, TOKENS),
    "product of a map": (lambda m, x: x * m.square, IMAGES),
    "product that widens": (lambda m, x: x.mean(-1, keepdim=True) * m.weight, TOKENS),
    "product of parameters": (lambda m, x: x + m.weight * m.bias, TOKENS),
    "parameter times a number": (lambda m, x: x + m.weight * 2, TOKENS),
    "product in place": (lambda m, x: x.clone().mul_(m.weight), TOKENS),
    "norm without a scale": (lambda m, x: functional.layer_norm(x, (6,)), TOKENS),
    "norm of a map": (lambda m, x: functional.layer_norm(x, (5, 5), m.square), IMAGES),
    "norm of a single sample": (lambda m, x: functional.layer_norm(x, (6,), m.weight), (6,)),
}


@pytest.mark.parametrize("name", WAYS)
@torch.no_grad()
def test_operator_that_scales_channels_is_found(name: str) -> None:
    how, shape, channel = WAYS[name]
    (own,) = found(how, shape)
    assert own.channel == channel
    assert own.running == (name == "batch_norm")
    model, x = Scaled(how).eval(), torch.randn(shape)
    rows = own.rows(model(x))
    assert rows.shape == (6, 2, x.numel() // 12)
    parameter = model.get_parameter(own.weight)
    parameter.mul_(torch.arange(1.0, 7).view(parameter.shape))
    if own.bias:
        model.get_parameter(own.bias).mul_(torch.arange(1.0, 7))
    torch.testing.assert_close(own.rows(model(x)), rows * torch.arange(1.0, 7).view(6, 1, 1))


@pytest.mark.parametrize("name", OTHERS)
def test_operator_that_does_something_else_is_not(name: str) -> None:
    assert found(*OTHERS[name]) == []
