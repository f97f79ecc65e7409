"""Criteria that look at activations, against loops in numpy over what hooks see."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing import criteria
from penjing.criteria import Activity, Apoz, Correlation, Entropy, HRank, Information, Statistics
from penjing.criteria.activations import observe
from penjing.criteria.correlation import correlations, redundancy
from penjing.criteria.entropy import entropy
from penjing.criteria.information import information
from penjing.criteria.points import points
from penjing.errors import PenjingError
from penjing.network import Network, trace
from tests.criteria.networks import Residual, TiedLanguageModel

Array = np.ndarray[Any, Any]


def batches(count: int = 3, size: int = 6) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 1, 4, 4, generator=draw), torch.randint(4, (size,), generator=draw))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    return trace(Residual().eval(), batches()[0][0])


@pytest.fixture(scope="module")
def seen(net: Network) -> dict[str, list[Array]]:
    """[samples, channels, height, width] of every place at which an axis is read: by another reading."""
    model = net.model
    assert isinstance(model, Residual)
    found: dict[str, list[list[Tensor]]] = {"stem": [[], []], "wide": [[]]}
    with torch.no_grad():
        for x, _ in batches():
            first = functional.relu(model.norm(model.stem(x)))
            second = first + model.mix(first)
            found["stem"][0].append(first)
            found["stem"][1].append(second)
            found["wide"][0].append(functional.relu(model.wide(second)))
    return {name: [torch.cat(parts).double().numpy() for parts in every] for name, every in found.items()}


def scored(net: Network, criterion: Any, data: Any = None) -> dict[str, list[float]]:
    statistics = criteria.collect(net, criterion.record.needs, data=data or batches(), loss=None)
    return {n: s.tolist() for n, s in criteria.score(net, criterion, statistics, normalise="none").items()}


def channels(value: Array) -> list[Array]:
    """Each channel as [samples, height, width]."""
    return [value[:, c] for c in range(value.shape[1])]


def _histogram_entropy(value: Array, bins: int = 32) -> float:
    pooled = value.mean((1, 2)).astype(np.float32)
    counts, _ = np.histogram(pooled, bins=bins, range=(pooled.min(), pooled.max()))
    return -sum(c / len(pooled) * math.log(c / len(pooled)) for c in counts if c)


def _mutual_information(pooled: Array, labels: Array, bins: int = 16) -> float:
    edges = np.sort(pooled)[[(k * len(pooled)) // bins for k in range(1, bins)]]
    cells = [int((edges <= v).sum()) for v in pooled]
    total = 0.0
    for cell in set(cells):
        for label in set(labels.tolist()):
            both = np.mean([c == cell and y == label for c, y in zip(cells, labels, strict=True)])
            alone = np.mean([c == cell for c in cells]) * np.mean(labels == label)
            total += both * math.log(both / alone) if both else 0.0
    return total


ORACLES: list[tuple[Any, Callable[[Array], float]]] = [
    (Activity(), lambda value: float(np.abs(value).mean())),
    (Activity(of="max"), lambda value: float(np.abs(value).max())),
    (Apoz(), lambda value: float((value != 0).mean())),
    (Entropy(), _histogram_entropy),
    (Entropy(keep="low", bins=8), lambda value: math.log(8) - _histogram_entropy(value, 8)),
    (HRank(), lambda value: float(np.mean([np.linalg.matrix_rank(m.astype(np.float32)) for m in value]))),
]


@pytest.mark.parametrize(("criterion", "oracle"), ORACLES, ids=[repr(c) for c, _ in ORACLES])
def test_scores_equal_plain_loops(
    net: Network, seen: dict[str, list[Array]], criterion: Any, oracle: Callable[[Array], float]
) -> None:
    found = scored(net, criterion)
    assert list(found) == list(seen)
    for axis, places in seen.items():
        every = [[oracle(channel) for channel in channels(place)] for place in places]
        if axis == "wide" and isinstance(criterion, HRank):  # read flattened: there are no maps any more
            every = [[float((p != 0).mean(0).mean()) for p in channels(v)] for v in places]
        expected = np.mean(every, axis=0)
        size = np.mean([[np.abs(channel).mean() for channel in channels(place)] for place in places], axis=0)
        if isinstance(criterion, Apoz | HRank):
            expected = expected + 1e-6 * size / size.max()
        assert found[axis] == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-7)


def test_information_scores_equal_plain_loops(net: Network) -> None:
    """Of the very samples that were noted: which of two that are nearly alike is larger is up to rounding."""
    found, labels = scored(net, Information(bins=16)), torch.cat([y for _, y in batches()]).numpy()
    seen = observe(net, batches(), {"activations"})
    for axis, scores in found.items():
        every = [
            [_mutual_information(column, labels) for column in one.samples.numpy().T] for one in seen.of(axis)
        ]
        assert scores == pytest.approx(np.mean(every, axis=0).tolist(), rel=1e-9)


def test_correlation_scores_equal_plain_loops(net: Network, seen: dict[str, list[Array]]) -> None:
    found = scored(net, Correlation())
    for axis, places in seen.items():
        each = []
        for place in places:
            by_position = place.transpose(0, 2, 3, 1).reshape(-1, place.shape[1])
            rows = place.mean((2, 3)) if axis == "wide" else by_position
            each.append(np.abs(np.corrcoef(rows.T)))
        left, alike, worth, most = set(range(len(each[0]))), np.mean(each, axis=0), {}, 0.0
        while len(left) > 1:
            one, other = max(
                ((a, b) for a in left for b in left if a < b), key=lambda pair: float(alike[pair])
            )
            most = max(most, 1 - alike[one, other])
            goes = max((one, other), key=lambda unit: sum(alike[unit, u] for u in left if u != unit))
            worth[goes] = most
            left.remove(goes)
        worth[left.pop()] = max(most, 1.0)
        assert found[axis] == pytest.approx([worth[unit] for unit in range(len(worth))], rel=1e-6)


def test_points_are_what_layers_read_behind_activation_functions(net: Network) -> None:
    found = points(net)
    names = {axis: [point.node.name for point in every] for axis, every in found.items()}
    assert names == {"stem": ["relu", "add"], "wide": [names["wide"][0]]}
    assert found["wide"][0].units == tuple(unit for unit in range(10) for _ in range(16))


def test_every_axis_of_a_language_model_is_looked_at_token_by_token() -> None:
    torch.manual_seed(0)
    net = trace(TiedLanguageModel().eval(), torch.randint(11, (3, 5)))
    data = [torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(2))]
    found = observe(net, data, {"activations"})
    (up,) = found.of("up")
    with torch.no_grad():
        model: Any = net.model
        x = model.embed(data[0])
        hidden = functional.gelu(model.up(x))
    assert up.counts.tolist() == [15.0] * 12
    torch.testing.assert_close(up.samples, hidden.mean(1))
    torch.testing.assert_close(up.size, hidden.abs().sum((0, 1)).double())
    assert all(found.of(axis.name) for axis in net.prunable)


def test_entropy_is_that_of_the_histogram() -> None:
    values = torch.tensor([[0.0, 5.0, 0.0], [0.0, 5.0, 1.0], [1.0, 5.0, 2.0], [1.0, 5.0, 3.0]])
    assert entropy(values, bins=4).tolist() == pytest.approx([math.log(2), 0.0, math.log(4)])


def test_information_is_that_of_the_label_where_it_tells_it_and_none_where_it_is_constant() -> None:
    labels = torch.tensor([0, 1, 2, 3]).repeat(25)
    values = torch.stack([labels.float(), torch.ones(100), (labels // 2).float()], 1)
    found = information(values, labels, bins=16).tolist()
    assert found == pytest.approx([math.log(4), 0.0, math.log(2)], abs=1e-9)


def test_of_two_units_that_are_alike_one_stays() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 3, generator=draw, dtype=torch.float64)
    rows = torch.cat([rows, -2 * rows[:, :1], torch.full((500, 1), 3.0)], 1)
    found = redundancy(correlations(rows.sum(0), rows.mT @ rows, 500)).tolist()
    assert found[4] == 0.0  # a constant adds nothing to anything
    assert sorted([found[0], found[3]])[0] == pytest.approx(0, abs=1e-9)
    assert sorted(found)[-3:] == pytest.approx([max(found[0], found[3]), found[1], found[2]], abs=0.2)


def test_information_takes_fewer_bins_where_samples_are_few(net: Network) -> None:
    assert scored(net, Information()) == scored(net, Information(bins=2))
    draw = torch.Generator().manual_seed(4)
    many = [(torch.randn(256, 1, 4, 4, generator=draw), torch.randint(2, (256,), generator=draw))]
    assert scored(net, Information(), many) == scored(net, Information(bins=16), many)


@pytest.mark.parametrize(
    ("data", "because"),
    [
        ([batches()[0][0]], "bring no targets"),
        ([(batches()[0][0], torch.rand(6))], "are float32 numbers"),
        ([(batches()[0][0], torch.zeros(6, 2, dtype=torch.int64))], "not one class"),
        ([(batches()[0][0], torch.tensor([0, 1, -100, 1, 0, 1]))], "a label is -100"),
    ],
)
def test_information_refuses_what_are_no_labels(net: Network, data: Any, because: str) -> None:
    with pytest.raises(PenjingError, match="what activations tell of the labels") as caught:
        scored(net, Information(), data)
    assert caught.value.code == "PJ324"
    assert because in caught.value.because


def test_axis_that_is_always_zero_is_an_error_that_names_it() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].bias.fill_(-1e3)  # type: ignore[union-attr, operator]
    with pytest.raises(PenjingError, match="activations of `0`") as caught:
        scored(trace(model.eval(), torch.randn(2, 4)), Apoz(), [torch.randn(8, 4)])
    assert caught.value.code == "PJ323"
    assert "all of its activations are zero" in caught.value.because


def test_activation_that_is_not_finite_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    nn.init.constant_(model[0].weight, 10.0)  # type: ignore[arg-type]
    with pytest.raises(PenjingError, match="is not finite") as caught:
        scored(trace(model, torch.randn(2, 4)), Activity(), [torch.full((8, 4), 3e38)])
    assert caught.value.code == "PJ303"


def test_units_below_the_threshold_are_worth_nothing(net: Network) -> None:
    every = scored(net, Activity())["wide"]
    limit = sorted(every)[4]
    found = scored(net, Activity(threshold=limit))["wide"]
    assert found == [value if value > limit else 0.0 for value in every]


def test_a_generator_serves_several_needs(net: Network) -> None:
    needs = {"activations", "gradients", "grams"}

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return functional.cross_entropy(outputs, batch[1])

    found = criteria.collect(net, needs, data=iter(batches()), loss=loss)  # type: ignore[arg-type]
    assert found.holds == needs
    assert found.batches == 3


def test_score_without_activations_says_what_is_missing(net: Network) -> None:
    with pytest.raises(PenjingError) as caught:
        criteria.score(net, HRank(), Statistics())
    assert caught.value.code == "PJ302"
    assert "activations, ranks" in caught.value.what


class TimeFirst(nn.Module):
    """Reads batch first, works time first: as many steps as samples must not be taken for the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.b(self.a(x.transpose(0, 1)).relu()).mean(0)
        return scores


@pytest.mark.parametrize("steps", [5, 6])
def test_samples_are_those_of_the_batch_wherever_they_lie(steps: int) -> None:
    torch.manual_seed(0)
    model, x = TimeFirst().eval(), torch.randn(6, steps, 8)
    (seen,) = observe(trace(model, x), [x], {"activations"}).of("a")
    with torch.no_grad():
        torch.testing.assert_close(seen.samples, model.a(x).relu().mean(1))


class Prior(nn.Module):
    """Its first input has one row, whatever the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, prior: Tensor, x: Tensor) -> Tensor:
        scores: Tensor = self.b(self.a(x).relu()) + prior
        return scores


def test_samples_are_not_those_of_the_first_input_alone() -> None:
    torch.manual_seed(0)
    model, given = Prior().eval(), (torch.randn(1, 3), torch.randn(16, 8))
    (seen,) = observe(trace(model, given), [given], {"activations"}).of("a")
    with torch.no_grad():
        torch.testing.assert_close(seen.samples, model.a(given[1]).relu())


def test_units_that_are_alike_in_what_is_counted_go_by_their_size() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 3)).eval()
    with torch.no_grad():
        model[0].weight[:8] *= 1e-4
        model[0].bias[:8] *= 1e-4
    net, data = trace(model, torch.randn(4, 8)), [torch.randn(64, 8)]
    for criterion in (HRank(), Apoz()):
        found = torch.tensor(scored(net, criterion, data)["0"])
        assert set(found.argsort()[:8].tolist()) == set(range(8))


def test_targets_of_several_shapes_are_only_missed_by_who_needs_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)).eval()
    data = [(torch.randint(11, (4, n)), torch.randint(5, (4, n))) for n in (7, 9)]
    net = trace(model, data[0][0])
    assert len(scored(net, Entropy(), data)["1"]) == 8
    with pytest.raises(PenjingError, match="labels"):
        scored(net, Information(), data)


def test_batch_of_no_samples_counts_for_nothing(net: Network) -> None:
    empty = (torch.zeros(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64))
    assert scored(net, Activity(), [*batches(), empty]) == scored(net, Activity())
