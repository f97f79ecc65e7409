from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from penjing import criteria
from penjing.criteria import Magnitude, Record, Statistics, Taylor, UnitCriterion
from penjing.criteria.combine import Aggregate
from penjing.errors import PenjingError
from penjing.network import Axis, Network, trace
from tests.criteria import networks, oracle
from tests.zoo.registry import ENTRIES

ZOO = {entry.name: entry for entry in ENTRIES}


def zoo(name: str) -> Network:
    return trace(ZOO[name].build(), ZOO[name].inputs())


def network(name: str) -> Network:
    return {"residual": networks.residual, "tied": networks.tied}.get(name, lambda: zoo(name))()


# Shared streams, tied tensors, channel shuffles (a unit in several places), grouped queries (products).
NETWORKS = ["residual", "tied", "shufflenet_v2", "mini_llama"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_magnitude_scores_equal_plain_loops(name: str, p: int, how: Aggregate) -> None:
    net = network(name)
    worth = {tensor: np.abs(array) ** p for tensor, array in oracle.arrays(net).items()}
    expected = oracle.scores(net, worth, how)
    found = criteria.score(net, Magnitude(p), aggregate=how, normalise="none")
    assert list(found) == list(expected)
    for axis, values in expected.items():
        assert found[axis].dtype == torch.float64
        assert found[axis].tolist() == pytest.approx([value ** (1 / p) for value in values], rel=1e-12)


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_taylor_scores_equal_backward_and_plain_loops(how: Aggregate) -> None:
    net = networks.residual()
    batches = networks.images(3)
    worth = {tensor: np.zeros_like(array) for tensor, array in oracle.arrays(net).items()}
    net.model.eval()
    for batch in batches:
        net.model.zero_grad()
        networks.cross_entropy(net.model(batch[0]), batch).backward()
        for tensor, parameter in net.model.named_parameters():
            assert parameter.grad is not None
            product = parameter.detach().double() * parameter.grad.double()
            worth[tensor] += product.abs().numpy() / len(batches)
    net.model.zero_grad()
    statistics = criteria.collect(net, Taylor().record.needs, data=batches, loss=networks.cross_entropy)
    found = criteria.score(net, Taylor(), statistics, aggregate=how)
    for axis, values in oracle.scores(net, worth, how).items():
        assert found[axis].tolist() == pytest.approx(values, rel=1e-6)


def test_score_counts_a_tied_tensor_once() -> None:
    net = networks.tied()
    weight = net.model.get_parameter("embed.weight").detach().double()
    up = net.model.get_parameter("up.weight").detach().double()
    down = net.model.get_submodule("down")
    (stream,) = (axis for axis in net.prunable if axis.size == 8)
    expected = (
        weight.abs().sum(0)
        + up.abs().sum(0)
        + down.get_parameter("weight").detach().double().abs().sum(1)
        + down.get_parameter("bias").detach().double().abs()
    )
    found = criteria.score(net, Magnitude(1), normalise="none")[stream.name]
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_score_leaves_buffers_out() -> None:
    net = networks.residual()
    before = criteria.score(net, Magnitude())
    net.model.get_buffer("norm.running_var").mul_(100)
    after = criteria.score(net, Magnitude())
    assert all(torch.equal(before[axis], after[axis]) for axis in before)


def test_score_covers_exactly_the_axes_that_may_be_cut() -> None:
    net = zoo("vit")
    found = criteria.score(net, Magnitude())
    assert list(found) == [axis.name for axis in net.prunable]
    assert [len(scores) for scores in found.values()] == [axis.size for axis in net.prunable]


def test_score_normalises_as_the_criterion_says_unless_told() -> None:
    net = networks.residual()
    default = criteria.score(net, Magnitude())
    raw = criteria.score(net, Magnitude(), normalise="none")
    for axis, scores in default.items():
        assert scores.mean().item() == pytest.approx(1)
        assert scores.tolist() == pytest.approx((raw[axis] / raw[axis].mean()).tolist())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_score_refuses_weights_that_are_not_finite(bad: float) -> None:
    net = networks.residual()
    with torch.no_grad():
        net.model.get_parameter("wide.weight")[3, 0, 0, 0] = bad
    with pytest.raises(PenjingError) as caught:
        criteria.score(net, Magnitude())
    assert caught.value.code == "PJ305"
    assert "units of `" in caught.value.what


def test_score_refuses_a_norm_that_overflows() -> None:
    net = networks.residual()
    with torch.no_grad():
        net.model.get_parameter("wide.weight").fill_(1e30)
    with pytest.raises(PenjingError) as caught:
        criteria.score(net, Magnitude(20), normalise="none")
    assert caught.value.code == "PJ305"


def test_score_without_the_statistics_it_needs_says_how_to_get_them() -> None:
    with pytest.raises(PenjingError) as caught:
        criteria.score(networks.residual(), Taylor())
    assert caught.value.code == "PJ302"
    assert "collect" in caught.value.tries[0]


def test_score_reads_half_precision_weights_exactly() -> None:
    model = networks.TwoInputs().bfloat16()
    net = trace(model, (torch.ones(1, 3).bfloat16(), torch.ones(1, 4).bfloat16()))
    worth = {name: value.detach().double().square().numpy() for name, value in model.named_parameters()}
    (values,) = oracle.scores(net, worth, "sum").values()
    (found,) = criteria.score(net, Magnitude(), normalise="none").values()
    assert found.tolist() == pytest.approx([math.sqrt(value) for value in values], rel=1e-12)


def test_magnitude_of_a_complex_weight_is_its_modulus() -> None:
    found = Magnitude().worth("", torch.tensor([3 + 4j, 1j]), criteria.Statistics())
    assert found.tolist() == [25.0, 1.0]


@dataclass(frozen=True)
class LastFirst(UnitCriterion):
    """A criterion of a user's own: later units are worth more."""

    record: ClassVar[Record] = Record("last-first", "the index", "units", frozenset(), "rank", "nobody")

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        return torch.arange(axis.size)


def test_score_takes_a_criterion_of_the_users_own() -> None:
    found = criteria.score(networks.residual(), LastFirst())
    for scores in found.values():
        assert scores.tolist() == pytest.approx([(n + 1) / len(scores) for n in range(len(scores))])
