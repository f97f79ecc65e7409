"""Curvature and Optimal Brain Damage, against exact Hessians and closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from penjing import criteria
from penjing.criteria import Curvature, Obd, collect
from penjing.errors import PenjingError
from penjing.network import Network, trace
from tests.criteria import networks, oracle

BATCHES = networks.images(3)


def exact(model: nn.Module, loss: Any, batch: Any) -> Tensor:
    """The whole Hessian, by all parameters one behind the other."""
    parameters = dict(model.named_parameters())
    sizes = [one.numel() for one in parameters.values()]

    def value(flat: Tensor) -> Any:
        parts = zip(parameters.items(), flat.split(sizes), strict=True)
        given = {name: part.view(one.shape) for (name, one), part in parts}
        return loss(functional_call(model, given, (batch[0],)), batch)

    flat = torch.cat([one.detach().flatten() for one in parameters.values()])
    full: Tensor = torch.autograd.functional.hessian(value, flat)  # type: ignore[no-untyped-call]
    return full


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))


def small() -> tuple[Network, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    net = trace(Small().double(), torch.randn(2, 3).double())
    return net, [(torch.randn(6, 3).double(), torch.randint(2, (6,))) for _ in range(2)]


def test_curvature_is_the_exact_diagonal_but_for_the_error_that_probes_have() -> None:
    net, batches = small()
    asked = Curvature(300)
    found = collect(net, {asked}, data=batches, loss=networks.cross_entropy).curvatures[asked]
    flat = torch.cat([found[name].flatten() for name, _ in net.model.named_parameters()])
    full = [exact(net.model, networks.cross_entropy, batch) for batch in batches]
    expected = sum(one.diagonal() for one in full)
    # v_i (H v)_i = H_ii + sum of H_ij v_i v_j: its variance is the sum of the other squares in the row.
    variance = sum(one.square().sum(1) - one.diagonal().square() for one in full) / asked.probes
    errors = (flat - expected) / variance.sqrt()
    assert float(errors.abs().max()) < 4.5
    assert 0.4 < float(errors.square().mean()) < 2.5


class Gates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 0.5, 0.25]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate


GIVEN = torch.tensor([[1.0, 2.0, 0.1, 4.0, -5.0]])


def test_curvature_is_exact_with_one_probe_where_the_hessian_is_diagonal() -> None:
    net = trace(Gates(), torch.ones(1, 5))

    def loss(out: Tensor, batch: Any) -> Tensor:
        return out.pow(4).sum() - out.square().sum()

    found = collect(net, {Curvature(1)}, data=[GIVEN], loss=loss)
    gate, x = net.model.get_parameter("gate").detach().double(), GIVEN[0].double()
    expected = 12 * gate**2 * x**4 - 2 * x**2  # of (g x)^4 - (g x)^2
    assert {bool(value > 0) for value in expected} == {True, False}
    torch.testing.assert_close(found.curvatures[Curvature(1)]["gate"], expected, rtol=1e-5, atol=1e-5)


def test_curvature_of_a_loss_that_is_linear_is_zero() -> None:
    net = trace(Gates(), torch.ones(1, 5))
    found = collect(net, {Curvature()}, data=[GIVEN], loss=lambda out, batch: out.sum())
    assert found.curvatures[Curvature()]["gate"].tolist() == [0.0] * 5
    assert found.holds == {Curvature()}


def test_obd_scores_are_sums_of_half_squares_times_curvature_without_their_sign() -> None:
    net = networks.residual()
    criterion = Obd(probes=2)
    statistics = collect(net, criterion.record.needs, data=BATCHES, loss=networks.cross_entropy)
    curvature = statistics.curvatures[Curvature(2)]
    weights = oracle.arrays(net)
    worth = {name: w**2 / 2 * curvature[name].numpy() / len(BATCHES) for name, w in weights.items()}
    found = criteria.score(net, criterion, statistics)
    signs = set()
    for axis, values in oracle.scores(net, worth, "sum").items():
        signs |= {value > 0 for value in values}
        assert found[axis].tolist() == pytest.approx([abs(value) for value in values], rel=1e-6)
    assert signs == {True, False}


def test_obd_follows_from_its_seed() -> None:
    net, batches = small()
    asked = [Curvature(3), Curvature(3, seed=1)]
    first, second = (collect(net, asked, data=batches, loss=networks.cross_entropy) for _ in range(2))
    for one in asked:
        assert all(
            torch.equal(first.curvatures[one][n], second.curvatures[one][n]) for n in first.curvatures[one]
        )
    assert not torch.equal(first.curvatures[asked[0]]["one.weight"], first.curvatures[asked[1]]["one.weight"])


def test_curvature_sees_through_fused_attention() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
            y = functional.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).flatten(2))

    net = trace(Attention(), torch.randn(2, 5, 8))
    found = collect(
        net, {Curvature(1)}, data=[torch.randn(2, 5, 8)], loss=lambda out, batch: out.square().mean()
    )
    assert found.curvatures[Curvature(1)]["qkv.weight"].any()


def test_curvature_says_so_where_there_is_no_second_derivative() -> None:
    net, batches = small()
    with pytest.raises(PenjingError) as caught:  # distances have a first one only
        collect(net, {Curvature()}, data=batches, loss=lambda out, batch: torch.cdist(out, out + 1).sum())
    assert caught.value.code == "PJ308"
    assert "batch 0" in caught.value.what


def test_curvature_that_is_not_finite_names_its_parameter() -> None:
    net, batches = small()

    with pytest.raises(PenjingError) as caught:
        collect(net, {Curvature()}, data=batches, loss=lambda out, batch: (out * 0).abs().pow(1.5).sum())
    assert caught.value.code == "PJ303"
    assert "curvature of `" in caught.value.what
