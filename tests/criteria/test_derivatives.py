"""Criteria that read derivatives of the loss, against backward passes, loops and exact Hessians."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penjing import criteria
from penjing.criteria import (
    Criterion,
    Curvature,
    Fisher,
    Gradient,
    Movement,
    Need,
    Obd,
    Snip,
    Statistics,
    Taylor,
    TaylorSquared,
    collect,
)
from penjing.criteria.fisher import fisher
from penjing.criteria.gradient import gradient
from penjing.criteria.movement import movement
from penjing.criteria.obd import obd
from penjing.criteria.snip import snip
from penjing.criteria.taylor_squared import taylor_squared
from penjing.errors import PenjingError
from penjing.network import Network, trace
from tests.criteria import networks, oracle

BATCHES = networks.images(3)
EVERY: frozenset[Need] = frozenset(
    {"gradients", "signed_gradients", "squared_gradients", "squared_products", Curvature(2)}
)


def collected(net: Network, needs: Iterable[Need]) -> Statistics:
    return collect(net, frozenset(needs), data=BATCHES, loss=networks.cross_entropy)


def backwards(net: Network) -> list[dict[str, np.ndarray]]:
    """For each batch, the gradient of every parameter."""
    found = []
    net.model.eval()
    for batch in BATCHES:
        net.model.zero_grad()
        networks.cross_entropy(net.model(batch[0]), batch).backward()
        named = net.model.named_parameters()
        found.append({name: one.grad.double().numpy().copy() for name, one in named if one.grad is not None})
    net.model.zero_grad()
    return found


def worths(net: Network, kind: str) -> dict[str, np.ndarray]:
    """What every weight is worth, from gradients by `backward`."""
    weights, passes = oracle.arrays(net), backwards(net)
    total = sum(np.abs(w * sum(one[n] for one in passes)).sum() for n, w in weights.items())
    found = {}
    for name, w in weights.items():
        each = [one[name] for one in passes]
        found[name] = {
            "gradient": lambda each=each: np.mean(np.abs(each), 0),
            "snip": lambda w=w, each=each: np.abs(w * np.sum(each, 0)) / total,
            "movement": lambda w=w, each=each: -w * np.sum(each, 0),
            "fisher": lambda w=w, each=each: w**2 / 2 * np.mean(np.square(each), 0),
        }[kind]()
    return found


@pytest.mark.parametrize("criterion", [Gradient(), Snip(), Movement(), Fisher()], ids=str)
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_scores_equal_backward_and_plain_loops(criterion: Criterion, how: Any) -> None:
    net = networks.residual()
    expected = oracle.scores(net, worths(net, criterion.record.name), how)
    statistics = collected(net, criterion.record.needs)
    found = criteria.score(net, criterion, statistics, aggregate=how, normalise="none")
    for axis, values in expected.items():
        assert found[axis].tolist() == pytest.approx(values, rel=1e-5, abs=1e-9)


def test_taylor_squared_squares_the_sum_over_a_unit_batch_by_batch() -> None:
    net = networks.residual()
    weights = oracle.arrays(net)
    expected = {axis.name: np.zeros(axis.size) for axis in net.prunable}
    for one in backwards(net):
        sums = oracle.scores(net, {name: w * one[name] for name, w in weights.items()}, "sum")
        for axis, values in sums.items():
            expected[axis] += np.square(values) / len(BATCHES)
    found = criteria.score(net, TaylorSquared(), collected(net, TaylorSquared().record.needs))
    for axis, values in expected.items():
        assert found[axis].tolist() == pytest.approx(values.tolist(), rel=1e-4)


def test_formulas_give_the_figures_worked_out_by_hand() -> None:
    weight, sums = torch.tensor([2.0, -1.0]), torch.tensor([3.0, 4.0]).double()
    assert gradient(sums, batches=2).tolist() == [1.5, 2.0]
    assert snip(weight, -sums, total=20.0).tolist() == pytest.approx([0.3, 0.2])
    assert snip(weight, sums, total=0.0).tolist() == [0.0, 0.0]
    assert movement(weight, sums).tolist() == [-6.0, 4.0]
    assert fisher(weight, sums, batches=2).tolist() == [3.0, 1.0]
    assert obd(weight, -sums, batches=2).tolist() == [-3.0, -1.0]
    assert taylor_squared(sums, batches=2).tolist() == [1.5, 2.0]


def test_movement_is_positive_where_a_step_of_descent_takes_a_weight_away_from_zero() -> None:
    weight = torch.tensor([0.5, -0.5, 0.5, -0.5])
    slope = torch.tensor([-1.0, 1.0, 1.0, -1.0]).double()
    grows = (weight - 0.1 * slope).abs() > weight.abs()
    assert torch.equal(movement(weight, slope) > 0, grows)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: gradient(torch.ones(1), batches=0),
        lambda: fisher(torch.ones(1), torch.ones(1), batches=0),
        lambda: obd(torch.ones(1), torch.ones(1), batches=0),
        lambda: taylor_squared(torch.ones(1), batches=0),
        lambda: snip(torch.ones(1), torch.ones(1), total=-1.0),
    ],
)
def test_formulas_refuse_what_cannot_be(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"averaged over 0 batches|a share of"):
        wrong()


def test_snip_of_all_weights_adds_up_to_one() -> None:
    net = networks.residual()
    statistics = collected(net, {"signed_gradients"})
    shares = [Snip().worth(name, weight, statistics).sum() for name, weight in net.model.named_parameters()]
    assert float(torch.stack(shares).sum()) == pytest.approx(1)


def test_fisher_is_that_of_batches_as_they_are_given() -> None:
    net = networks.residual()
    single = [(x[None], y[None]) for images, labels in BATCHES for x, y in zip(images, labels, strict=True)]
    small = collect(net, {"squared_gradients"}, data=single, loss=networks.cross_entropy)
    large = collected(net, {"squared_gradients"})
    means = [
        sum(float(one.sum()) for one in s.squared_gradients.values()) / s.batches for s in (small, large)
    ]
    assert means[0] > 1.2 * means[1]  # the mean over a batch cancels


def test_collect_gives_every_need_in_one_pass_what_it_gives_alone() -> None:
    read = []

    def data() -> Any:
        for batch in BATCHES:
            read.append(batch)
            yield batch

    net = networks.residual()
    together = collect(net, EVERY, data=data(), loss=networks.cross_entropy)
    assert len(read) == len(BATCHES)
    assert together.holds == EVERY
    for need in EVERY:
        alone = collected(net, {need})
        assert alone.holds == {need}
        both = [
            s.curvatures[need] if isinstance(need, Curvature) else getattr(s, need) for s in (alone, together)
        ]
        assert list(both[0]) == list(both[1])
        for name in both[0]:
            torch.testing.assert_close(both[0][name], both[1][name], rtol=1e-5, atol=1e-9)
            assert both[0][name].dtype == torch.float64


@pytest.mark.parametrize(
    "criterion", [Gradient(), TaylorSquared(), Snip(), Movement(), Fisher(), Obd()], ids=str
)
def test_criterion_without_its_statistics_names_them(criterion: Criterion) -> None:
    net = networks.residual()
    held = collected(
        net, EVERY - criterion.record.needs - {"gradients"} if not isinstance(criterion, Obd) else EVERY
    )
    with pytest.raises(PenjingError) as caught:
        criteria.score(net, criterion, held)
    assert caught.value.code == "PJ302"
    assert all(str(need) in caught.value.what for need in criterion.record.needs)


@pytest.mark.parametrize("need", sorted(EVERY, key=str), ids=str)
def test_collect_of_any_derivative_needs_data_and_a_loss(need: Need) -> None:
    with pytest.raises(PenjingError) as caught:
        collect(networks.residual(), {need}, data=None, loss=None)
    assert caught.value.code == "PJ302"
    assert f"{need} without data and loss" in caught.value.what


def test_squares_of_half_precision_gradients_do_not_overflow() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x))

    net = trace(Half().half(), torch.randn(2, 3).half())
    found = collect(
        net, {"squared_gradients"}, data=[torch.randn(2, 3).half()], loss=lambda out, b: out.sum() * 500
    )
    assert all(bool(one.isfinite().all()) for one in found.squared_gradients.values())
    assert float(found.squared_gradients["two.bias"][0]) == 1e6


def test_product_of_complex_weights_is_how_the_loss_changes_with_them() -> None:
    weight = torch.tensor([1 + 2j, -0.5j], requires_grad=True)
    loss = (weight.abs() ** 2).sum() + weight.real.sum()
    (slope,) = torch.autograd.grad(loss, weight)
    grown = weight.detach() * (1 + 1e-4)
    change = ((grown.abs() ** 2).sum() + grown.real.sum() - loss.detach()) / 1e-4
    assert float(-movement(weight, slope).sum()) == pytest.approx(float(change), rel=1e-2)


def test_taylor_bounds_the_square_root_of_taylor_squared_on_one_batch() -> None:
    net = networks.residual()
    needs = Taylor().record.needs | TaylorSquared().record.needs
    statistics = collect(net, needs, data=BATCHES[:1], loss=networks.cross_entropy)
    above, below = (criteria.score(net, one, statistics) for one in (Taylor(), TaylorSquared()))
    assert all(bool((below[name].sqrt() <= above[name] * (1 + 1e-9)).all()) for name in above)
