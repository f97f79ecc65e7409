"""Where an output ends up: the batch norm behind it, and the residual sums it is added to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from penjing.network import Network, trace
from penjing.network.solve import tensor_named
from penjing.recover.reconstruction.sums import Chain, chain, missing, norm_scale


class Block(nn.Module):
    """A shortcut and a branch that ends in the layer `last`, joined in some way."""

    def __init__(self, join: Callable[[Block, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        nn.init.normal_(self.norm.weight)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        self.gamma = nn.Parameter(torch.randn(4, 1, 1))
        self.later = nn.Conv2d(3, 4, 1)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(x)
        return self.join(self, skip, self.last(skip.relu()))


def traced(join: Callable[[Block, Tensor, Tensor], Tensor]) -> tuple[Network, Chain]:
    net = trace(Block(join).eval(), torch.randn(2, 3, 5, 5))
    nodes = list(net.trace.graph.nodes)
    last = [node for node in nodes if "conv2d" in str(node.target)][1]

    def tensor(node: fx.Node) -> Tensor | None:
        name = net.trace.state.get(node.name)
        return None if name is None else tensor_named(net.model, name).detach()

    return net, chain(last, nodes[: nodes.index(last)], tensor, 4)


def test_batch_norm_right_behind_is_the_chains_own() -> None:
    _, found = traced(lambda b, skip, y: b.norm(y))
    assert found.norm is not None
    assert found.sums == []


def test_batch_norm_behind_something_else_is_not() -> None:
    _, found = traced(lambda b, skip, y: b.norm(y + skip))
    assert found.norm is None
    assert len(found.sums) == 1


def test_sum_with_what_is_known_is_found_with_the_scale_on_the_way() -> None:
    net, found = traced(lambda b, skip, y: skip + b.gamma * b.norm(functional.dropout(y, 0.1, b.training)))
    ((total, other, scale),) = found.sums
    assert "add" in total.name
    assert "conv2d" in other.name
    norm = net.model.norm
    wanted = norm.weight * (norm.running_var + norm.eps).rsqrt() * net.model.gamma.flatten()
    torch.testing.assert_close(scale, wanted.detach().double())


def test_every_sum_on_the_way_is_found() -> None:
    _, found = traced(lambda b, skip, y: (y + skip) + skip)
    assert len(found.sums) == 2


@pytest.mark.parametrize(
    "join",
    [
        lambda b, skip, y: skip + y.relu(),
        lambda b, skip, y: skip + 2 * y,
        lambda b, skip, y: skip + y + y,
        lambda b, skip, y: torch.add(skip, y, alpha=2),
        lambda b, skip, y: skip.mean((2, 3), keepdim=True) + y,
        lambda b, skip, y: y + 1.0,
        lambda b, skip, y: skip * y,
    ],
)
def test_what_is_no_plain_sum_with_something_known_is_not_taken_for_one(
    join: Callable[[Block, Tensor, Tensor], Tensor],
) -> None:
    _, found = traced(join)
    assert found.sums == []


def test_norm_scale_is_the_slope_of_the_norm() -> None:
    net, found = traced(lambda b, skip, y: b.norm(y))
    assert found.norm is not None
    x = torch.randn(1, 4, 1, 1)
    with torch.no_grad():
        slope = (net.model.norm(x + 1) - net.model.norm(x)).flatten().double()
    held = lambda node: tensor_named(net.model, net.trace.state[node.name]).detach()  # noqa: E731
    torch.testing.assert_close(norm_scale(found.norm, held), slope, rtol=1e-4, atol=1e-5)


def test_missing_is_what_makes_the_sum_come_out() -> None:
    whole, cut, own = torch.randn(3, 2, 4, 5).unbind(0)
    scale = torch.tensor([0.5, -2.0, 1.0, 3.0], dtype=torch.float64)
    factor = scale.float().view(1, 4, 1)
    lack = missing(whole, cut, scale, 1)
    torch.testing.assert_close(cut + factor * (own + lack), whole + factor * own)


def test_channel_that_is_hardly_scaled_is_asked_for_nothing() -> None:
    whole, cut = torch.randn(2, 2, 4).unbind(0)
    lack = missing(whole, cut, torch.tensor([1.0, -0.1, 1e-9, 0.0], dtype=torch.float64), 1)
    torch.testing.assert_close(lack[:, :2], (whole - cut)[:, :2] * torch.tensor([1.0, -10.0]))
    assert not bool(lack[:, 2:].any())
