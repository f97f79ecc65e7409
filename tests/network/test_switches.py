from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from penjing.network import Network, trace
from penjing.plan import Plan
from penjing.surgery import cut
from tests.zoo.registry import ENTRIES

ZOO = {entry.name: entry for entry in ENTRIES}

WITH_BRANCHES = ["resnet_bottleneck", "mobilenet_v2", "vit", "mini_llama", "hf_gpt2", "hf_bert"]


ROUTED = ["hf_mixtral_eager"]
"""Which expert a token goes to, and how many there are, depends on what is computed."""


def traced(name: str) -> Network:
    return trace(ZOO[name].build(), ZOO[name].inputs())


class Residual(nn.Module):
    """A branch whose last layer sums over an axis, and what stands around it."""

    def __init__(self, inner: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.into, self.inner, self.last, self.out = nn.Linear(6, 8), inner, last, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        scores: Tensor = self.out(x + self.last(torch.relu(self.inner(x))))
        return scores


@pytest.mark.parametrize("name", WITH_BRANCHES)
def test_switch_at_none_costs_what_a_network_without_the_branch_does(name: str) -> None:
    net = traced(name)
    assert net.switches
    for axis, switch in net.switches.items():
        without = trace(cut(net, Plan(dropped=(switch.branch.name,))).model, net.call)
        assert net.macs_at({axis: 0}) == without.macs
        assert net.parameters_at({axis: 0}) == without.parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_every_switch_at_none_costs_what_a_network_without_the_branches_does(name: str) -> None:
    net = traced(name)
    dropped = tuple(switch.branch.name for switch in net.switches.values())
    without = trace(cut(net, Plan(dropped=dropped)).model, net.call)
    off = dict.fromkeys(net.switches, 0)
    assert net.parameters_at(off) == without.parameters
    if name not in ROUTED:  # what fed nothing but dropped branches is not run any more
        assert 0.95 * net.macs_at(off) <= without.macs <= net.macs_at(off)


@pytest.mark.parametrize("name", WITH_BRANCHES)
def test_switch_is_carried_by_its_branch_alone(name: str) -> None:
    net = traced(name)
    for axis, switch in net.switches.items():
        assert axis in switch.inner
        for inner in switch.inner:
            assert {member.tensor for member in net.axis(inner).members} <= set(switch.branch.parameters)


def test_switch_at_none_leaves_a_constant_of_its_branch() -> None:
    """The branch's last layer sums over its switch: all weights of it gone, only biases are left."""
    torch.manual_seed(0)
    model = Residual(nn.Linear(8, 5), nn.Linear(5, 8)).eval()
    net = trace(model, torch.randn(2, 6))
    ((axis, switch),) = net.switches.items()
    assert (axis, switch.branch.joins) == ("inner", "add")
    with torch.no_grad():
        model.last.weight.zero_()
        shifted = model.last(torch.relu(model.inner(torch.randn(7, 8))))
    assert torch.equal(shifted, shifted[:1].expand_as(shifted))


def test_branch_that_ends_in_an_activation_of_other_inputs_has_no_switch() -> None:
    class Gated(Residual):
        def forward(self, x: Tensor) -> Tensor:
            x = self.into(x)
            scores: Tensor = self.out(x + torch.sigmoid(x) * self.last(torch.relu(self.inner(x))))
            return scores

    net = trace(Gated(nn.Linear(8, 5), nn.Linear(5, 8)).eval(), torch.randn(2, 6))
    assert net.branches
    assert not net.switches


def test_switch_is_not_shared_between_branches() -> None:
    """Two branches read one layer: its axis is not the branch's own."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last, self.out = nn.Linear(6, 5), nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                x = x + self.last(torch.relu(self.inner(x)))
            scores: Tensor = self.out(x)
            return scores

    net = trace(Shared().eval(), torch.randn(2, 6))
    assert not net.switches
