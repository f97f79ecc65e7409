"""Criteria that read weights only, against loops, the papers' definitions and other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from penjing import criteria
from penjing.criteria import BnScale, GeometricMedian, Lamp, Magnitude, Statistics
from penjing.criteria.geometric_median import geometric_median
from penjing.criteria.lamp import lamp
from penjing.errors import PenjingError
from penjing.network import Network, trace
from tests.criteria import networks, oracle
from tests.zoo.registry import ENTRIES

ZOO = {entry.name: entry for entry in ENTRIES}


def zoo(name: str) -> Network:
    return trace(ZOO[name].build(), ZOO[name].inputs())


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lamp_by_loops(weights: np.ndarray) -> np.ndarray:
    squares = weights.astype(np.float64).ravel() ** 2
    found = [s / sum(other for other in squares if other >= s) if s > 0 else 0.0 for s in squares]
    return np.array(found).reshape(weights.shape)


def test_lamp_gives_the_figures_worked_out_by_hand() -> None:
    found = lamp(torch.tensor([[3.0, -1.0], [0.0, 2.0]]))
    assert found.dtype == torch.float64
    assert found.tolist() == [[1.0, pytest.approx(1 / 14)], [0.0, pytest.approx(4 / 13)]]


def test_lamp_equals_plain_loops() -> None:
    weight = drawn(7, 5, 3)
    np.testing.assert_allclose(lamp(weight), lamp_by_loops(weight.numpy()), rtol=1e-12)


def test_lamp_calls_equal_weights_equal_in_any_order() -> None:
    weight = torch.tensor([2.0, -1.0, 1.0, 2.0, 1.0])
    assert lamp(weight).tolist() == pytest.approx([1 / 2, 1 / 11, 1 / 11, 1 / 2, 1 / 11])
    order = torch.tensor([4, 2, 0, 3, 1])
    assert torch.equal(lamp(weight[order]), lamp(weight)[order])


def test_lamp_of_many_weights_compares_their_first_bits() -> None:
    # Whole numbers below 4096 have no more than 12 bits: the table is exact.
    weight = torch.randint(-4095, 4096, (300, 301), generator=torch.Generator().manual_seed(0)).float()
    values, counts = np.unique(np.abs(weight.numpy().ravel()).astype(np.int64), return_counts=True)
    above = np.cumsum((values**2 * counts)[::-1])[::-1]
    shares = dict(zip(values.tolist(), (values**2 / above).tolist(), strict=True))
    expected = [shares[abs(int(value))] for value in weight.flatten().tolist()]
    np.testing.assert_allclose(lamp(weight).flatten(), expected, rtol=1e-12)


def test_lamp_of_many_weights_ranks_units_as_an_exact_sort_does() -> None:
    weight = drawn(64, 2048) * torch.linspace(0.5, 1.5, 64)[:, None]
    squares = weight.double().square().flatten()
    order = squares.argsort(descending=True)
    exact = torch.empty_like(squares)
    exact[order] = squares[order] / squares[order].cumsum(0)
    exact, found = exact.view(64, 2048).sum(1), lamp(weight).sum(1)
    assert found.argsort().tolist() == exact.argsort().tolist()
    torch.testing.assert_close(found, exact, rtol=5e-3, atol=0)


@pytest.mark.parametrize("shape", [(3, 2), (300, 300)])
def test_lamp_of_zeros_is_zero_and_of_what_is_not_finite_is_not(shape: tuple[int, int]) -> None:
    weight = torch.zeros(shape)
    assert not lamp(weight).any()
    for bad in (math.nan, math.inf):
        weight[0, 0] = bad
        assert not bool(lamp(weight).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_lamp_reads_weights_of_any_type(dtype: torch.dtype) -> None:
    weight = torch.tensor([[3.0, -1.0], [0.0, 2.0]], dtype=dtype)
    assert lamp(weight).tolist() == [[1.0, pytest.approx(1 / 14)], [0.0, pytest.approx(4 / 13)]]


def test_lamp_scores_equal_plain_loops_over_slices() -> None:
    net = networks.residual()
    worth = {name: lamp_by_loops(array) for name, array in oracle.arrays(net).items()}
    found = criteria.score(net, Lamp())
    for axis, values in oracle.scores(net, worth, "sum").items():
        assert found[axis].tolist() == pytest.approx(values, rel=1e-6)


def test_magnitude_removes_the_units_that_torch_prunes() -> None:
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))
    with torch.no_grad():
        model[2].weight.fill_(0.1)  # what reads the units tells nothing of them apart
    net = trace(model, torch.randn(2, 6))
    (scores,) = criteria.score(net, Magnitude()).values()
    prune.ln_structured(model[0], "weight", amount=3, n=2, dim=0)
    gone = (model[0].weight_mask.sum(1) == 0).nonzero().flatten().tolist()
    assert sorted(scores.argsort()[:3].tolist()) == gone


def distances(rows: np.ndarray) -> list[float]:
    return [sum(float(np.linalg.norm(one - other)) for other in rows) for one in rows]


def test_geometric_median_gives_the_figures_worked_out_by_hand() -> None:
    found = geometric_median([torch.tensor([[0.0], [3.0], [3.0]]), torch.tensor([[0.0], [4.0], [0.0]])])
    assert found.tolist() == pytest.approx([8.0, 9.0, 7.0])


@pytest.mark.parametrize("units", [1, 5, 256, 300, 513])
def test_geometric_median_equals_distances_of_all_pairs(units: int) -> None:
    rows = drawn(units, 12).double()
    found = geometric_median([rows[:, :5], rows[:, 5:]])
    assert found.tolist() == pytest.approx(distances(rows.numpy()), rel=1e-9, abs=1e-6)
    assert geometric_median([rows.float()]).tolist() == pytest.approx(found.tolist(), rel=1e-4, abs=1e-3)


def test_geometric_median_takes_the_tensors_that_make_an_axis() -> None:
    net = networks.residual()
    found = criteria.score(net, GeometricMedian(), normalise="none")
    arrays = oracle.arrays(net)
    both = np.concatenate([arrays["stem.weight"].reshape(6, -1), arrays["mix.weight"].reshape(6, -1)], axis=1)
    assert found["stem"].tolist() == pytest.approx(distances(both), rel=1e-5)
    assert found["wide"].tolist() == pytest.approx(distances(arrays["wide.weight"].reshape(10, -1)), rel=1e-5)


def test_geometric_median_equals_torch_pruning_on_weights_above_zero() -> None:
    # Theirs are distances of absolute values, which the paper's are not.
    theirs = pytest.importorskip("torch_pruning")
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        model[0].weight.abs_()
    graph = theirs.DependencyGraph().build_dependency(model, torch.randn(1, 3, 6, 6))
    group = graph.get_pruning_group(model[0], theirs.prune_conv_out_channels, idxs=[*range(8)])
    expected = theirs.importance.FPGMImportance(p=1, group_reduction="first", normalizer=None)(group)
    (found,) = criteria.score(
        trace(model, torch.randn(1, 3, 6, 6)), GeometricMedian(), normalise="none"
    ).values()
    torch.testing.assert_close(found.float(), expected.detach(), rtol=1e-4, atol=0)


def test_geometric_median_reads_an_axis_that_no_layer_makes_off_all_its_tensors() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(11, 6), nn.Linear(6, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out(self.embed(tokens))

    net = trace(Embedded(), torch.randint(11, (2, 5)))
    arrays = oracle.arrays(net)
    rows = np.concatenate([arrays["embed.weight"].T, arrays["out.weight"].T], axis=1)
    (found,) = criteria.score(net, GeometricMedian(), normalise="none").values()
    assert found.tolist() == pytest.approx(distances(rows), rel=1e-5)


@pytest.mark.parametrize("name", ["shufflenet_v2", "mini_llama", "densenet", "mobilenet_v2", "vit"])
@pytest.mark.parametrize("make", [Lamp, GeometricMedian])
def test_every_axis_of_a_network_of_the_zoo_is_scored(name: str, make: Callable[[], Any]) -> None:
    net = zoo(name)
    found = criteria.score(net, make())
    assert list(found) == [axis.name for axis in net.prunable]
    assert all(bool((scores > 0).any()) for scores in found.values())


class Normed(nn.Module):
    """One axis under two batch norms, one under one, one under none."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 3, 1)
        self.one, self.two, self.three = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(5)
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.one(self.a(x)))
        x = torch.tanh(self.two(x))
        x = torch.tanh(self.three(self.b(x)))
        return self.head(torch.tanh(self.c(x)))


def normed() -> Network:
    torch.manual_seed(0)
    model = Normed()
    with torch.no_grad():
        model.one.weight.copy_(torch.tensor([1.0, -2.0, 3.0, 0.0]))
        model.two.weight.copy_(torch.tensor([3.0, 0.0, -1.0, 2.0]))
        model.three.weight.copy_(torch.tensor([0.5, -0.25, 0.125, 1.0, 0.75]))
    return trace(model, torch.randn(2, 2, 3, 3))


def test_bn_scale_is_the_mean_of_the_scales_and_else_a_norm_of_their_mean() -> None:
    net = normed()
    found = criteria.score(net, BnScale())
    assert found["a"].tolist() == [2.0, 1.0, 2.0, 1.0]
    assert found["b"].tolist() == [0.5, 0.25, 0.125, 1.0, 0.75]
    norms = criteria.score(net, Magnitude(), normalise="none")["c"]
    mean = (6.0 + 2.625) / 9
    assert found["c"].tolist() == pytest.approx((norms / norms.mean() * mean).tolist())


def test_bn_scale_says_so_where_no_axis_has_a_batch_norm() -> None:
    with pytest.raises(PenjingError) as caught:
        criteria.score(networks.tied(), BnScale())
    assert caught.value.code == "PJ309"
    assert "magnitude" in caught.value.tries[0]


def test_bn_scale_reads_batch_norms_under_concatenation() -> None:
    net = zoo("densenet")
    found = criteria.score(net, BnScale())
    assert list(found) == [axis.name for axis in net.prunable]


def test_criteria_of_weights_alone_need_no_statistics() -> None:
    for name in ("lamp", "bn_scale", "geometric_median"):
        assert not criteria.get(name).record.needs
        assert criteria.score(networks.residual(), criteria.get(name), Statistics())
