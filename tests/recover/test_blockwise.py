from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing import trace
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan import Plan
from penjing.recover import Blockwise, Reconstruct, Situation
from penjing.recover.blockwise.blocks import blocks
from penjing.recover.blockwise.gap import gap
from penjing.surgery import cut


class Residual(nn.Module):
    """Blocks with a norm that all of them share, and rectifiers that write into what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 24)
        self.inner = nn.ModuleList(nn.Linear(24, 32) for _ in range(3))
        self.outer = nn.ModuleList(nn.Linear(32, 24) for _ in range(3))
        self.shared = nn.LayerNorm(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(torch.relu_(inner(self.shared(x))))
        return self.head(torch.relu_(x))


class Skipping(nn.Module):
    """What the first layer gives is read by the last, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(torch.cat([x, torch.relu(self.second(x))], 1))


def half(net: Network, only: str = "") -> Plan:
    axes = [axis for axis in net.prunable if only in axis.name]
    return Plan(kept={axis.name: tuple(range(0, axis.size, 2)) for axis in axes})


def problem(model: nn.Module, only: str = "") -> tuple[nn.Module, Situation]:
    data = [torch.randn(48, 6) for _ in range(12)]
    net = trace(model, data[0])
    plan = half(net, only)
    return cut(net, plan).model, Situation(model, data, net=net, plan=plan)


@pytest.fixture
def residual() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


def deviations(record: Any) -> tuple[float, float]:
    return record.options["deviation_before"], record.options["deviation_after"]


def test_blocks_end_behind_residual_sums_and_own_what_no_other_reads(residual: Residual) -> None:
    found = blocks(trace(residual, torch.randn(2, 6)))
    assert [block.weights for block in found] == [
        ("stem.weight", "stem.bias"),
        *((f"inner.{n}.weight", f"inner.{n}.bias", f"outer.{n}.weight", f"outer.{n}.bias") for n in range(3)),
        ("head.weight", "head.bias"),
    ]
    names = [node.name for block in found for node in block.nodes]
    assert len(names) == len(set(names))
    assert found[-1].ends is None


def test_blocks_go_on_where_a_second_tensor_is_still_to_be_read() -> None:
    found = blocks(trace(Skipping(), torch.randn(2, 6)))
    operators = [[node.name for node in block.nodes] for block in found]
    assert operators == [["linear"], ["linear_1", "relu", "cat"], ["linear_2", "output"]]


def test_gap_is_relative_to_the_spread_of_the_aim() -> None:
    aim = torch.randn(100, 4) * 3 + 7
    constant = aim.mean(0, keepdim=True).expand_as(aim)
    assert float(gap([constant], [aim])) == pytest.approx(1, rel=1e-5)
    assert float(gap([aim, constant], [aim, aim])) == pytest.approx(0.5, rel=1e-5)


def test_blockwise_comes_nearer_to_the_original_than_reconstruction(residual: Residual) -> None:
    small, situation = problem(residual, "inner")
    before = deviations(Reconstruct().apply(small, situation))[1]
    blockwise = deviations(Blockwise(steps=40, joint=0, lr=3e-3).apply(small, situation))
    assert blockwise[1] < 0.97 * blockwise[0]
    joint = deviations(Blockwise(steps=0, joint=100, lr=3e-3).apply(small, situation))
    assert joint[1] < 0.8 * before


def test_blockwise_leaves_original_modes_flags_and_frozen_parameters_alone(residual: Residual) -> None:
    small, situation = problem(residual)
    small.train()
    small.inner[1].weight.requires_grad_(False)
    frozen, original = small.stem.bias.requires_grad_(False), deepcopy(residual.state_dict())
    kept = frozen.detach().clone()
    Blockwise(steps=0, joint=20).apply(small, situation)
    assert small.training
    assert not residual.training
    assert torch.equal(frozen, kept)
    assert all(parameter.grad is None for parameter in small.parameters())
    assert all(torch.equal(value, original[name]) for name, value in residual.state_dict().items())


def test_blockwise_gives_the_same_weights_for_the_same_seed_only(residual: Residual) -> None:
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(1)
        small, situation = problem(residual)
        Blockwise(steps=5, joint=10, seed=seed).apply(small, situation)
        found.append(small.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert any(not torch.equal(value, found[2][name]) for name, value in found[0].items())


def test_blockwise_takes_back_what_does_not_help(residual: Residual) -> None:
    small, situation = problem(residual)
    Reconstruct().apply(small, situation)
    before = deepcopy(small.state_dict())
    record = Blockwise(steps=0, joint=5, lr=50.0).apply(small, situation)
    assert deviations(record)[1] <= deviations(record)[0]
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


def test_blockwise_runs_on_batches_of_two_shapes_and_in_bfloat16(residual: Residual) -> None:
    small, situation = problem(residual)
    data = [torch.randn(48, 6) for _ in range(6)] + [torch.randn(20, 6) for _ in range(4)]
    record = Blockwise(data, steps=10, joint=40, lr=3e-3, precision="bfloat16").apply(small, situation)
    assert record.options["batches"] == 10
    assert deviations(record)[1] < deviations(record)[0]
    assert all(parameter.dtype is torch.float32 for parameter in small.parameters())


def test_blockwise_puts_the_weights_back_when_a_batch_fails(residual: Residual) -> None:
    small, situation = problem(residual)
    before = deepcopy(small.state_dict())
    spoiled = torch.randn(48, 6)
    spoiled[7, 2] = torch.nan
    with pytest.raises(PenjingError) as caught:
        Blockwise([torch.randn(48, 6), spoiled]).apply(small, situation)
    assert caught.value.code == "PJ320"
    assert "batch 1" in str(caught.value)
    assert "sample 7" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"lr": 0}, "PJ313"),
        ({"steps": -1}, "PJ313"),
        ({"share": 1}, "PJ313"),
        ({"precision": "int8"}, "PJ313"),
    ],
)
def test_blockwise_refuses_what_cannot_be_meant(options: dict[str, Any], code: str) -> None:
    with pytest.raises(PenjingError) as caught:
        Blockwise(**options)
    assert caught.value.code == code


def test_blockwise_says_what_it_lacks(residual: Residual) -> None:
    small, situation = problem(residual)
    with pytest.raises(PenjingError) as no_plan:
        Blockwise([torch.randn(4, 6)]).apply(small, Situation(residual))
    with pytest.raises(PenjingError) as no_data:
        Blockwise().apply(small, Situation(residual, net=situation.net, plan=situation.plan))
    with pytest.raises(PenjingError) as empty:
        Blockwise([]).apply(small, situation)
    assert [e.value.code for e in (no_plan, no_data, empty)] == ["PJ321", "PJ311", "PJ311"]
