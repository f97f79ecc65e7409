"""Recovery by two processes leaves the weights that one leaves."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from penjing import processes
from penjing.network import trace
from penjing.plan import Plan
from penjing.recover import BatchNorm, FineTune, Reconstruct, Situation
from penjing.surgery import cut
from tests.api.models import patterns, small
from tests.processes.ranks import in_ranks
from tests.recover.models import accuracy, classifier, clusters
from tests.recover.test_scores import Attending

Weights = dict[str, Tensor]


class Images(nn.Module):
    """Convolutions and batch norms of two kinds, channels dropped whole, one layer read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6, momentum=None))
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.drop((x + self.body(self.body(x))).relu())
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def images(seed: int) -> Images:
    torch.manual_seed(seed)
    return Images()


def pictures(sizes: tuple[int, ...] = (9, 9, 9, 1, 8)) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(3)
    return [(torch.randn(n, 1, 5, 5, generator=draw), torch.randint(3, (n,), generator=draw)) for n in sizes]


def shuffled(sampler: Any = None) -> DataLoader[Any]:
    x, y = (torch.cat(parts) for parts in zip(*clusters(6, 20), strict=True))
    return DataLoader(TensorDataset(x, y), batch_size=20 // processes.world() if sampler else 20,
                      shuffle=sampler is None, sampler=sampler)  # fmt: skip


def _tuned(model: nn.Module, teacher: nn.Module, evaluate: Any = None, **options: Any) -> Weights:
    given = {"epochs": 2, "lr": 1e-2, "momentum": 0.5, "optimizer": "sgd", **options}
    record = FineTune(**given).apply(model, Situation(teacher, evaluate=evaluate, seed=5))
    losses = [epoch.loss or 0.0 for epoch in record.history]
    return {
        **model.state_dict(),
        "losses": torch.tensor(losses),
        "metric": torch.tensor(record.history[-1].metric or 0),
    }


def plain() -> Weights:
    torch.manual_seed(0)
    model, teacher = (nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)) for _ in range(2))
    return _tuned(model, teacher, train=clusters(6, 21), optimizer="adamw")


def norms_and_dropout() -> Weights:
    return _tuned(classifier(1), classifier(0), accuracy, train=shuffled(), ema=0.9, clip=0.1)


def pictures_with_an_odd_sample() -> Weights:
    return _tuned(images(1), images(0), train=pictures((9, 9, 2, 8)))


def a_batch_too_small_to_split() -> Weights:
    torch.manual_seed(0)
    model, teacher = (nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)) for _ in range(2))
    return _tuned(model, teacher, train=[*clusters(2, 5), *clusters(1, 1)])


def distilled_and_mixed() -> Weights:
    return _tuned(images(1), images(0), train=pictures((9, 8)), feature_weight=1.0, mixup=0.4,
                  features=["stem", "body"], label_smoothing=0.1)  # fmt: skip


def batch_norm() -> Weights:
    model = images(1)
    record = BatchNorm(pictures((9, 9, 9, 2, 8)), force=True).apply(model, Situation(images(0)))
    return {**model.state_dict(), "batches": torch.tensor(record.options["batches"])}


def split_by_the_loader() -> Weights:
    x, y = (torch.cat(parts) for parts in zip(*clusters(6, 20), strict=True))
    sampler = DistributedSampler(TensorDataset(x, y), processes.world(), processes.rank(), shuffle=False)
    return _tuned(classifier(1), classifier(0), train=shuffled(sampler), loss="label", clip=None)


class Stacked(nn.Module):
    """Blocks in a list, one of them with an odd number of rows, and a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 9), nn.Linear(9, 7)])
        self.norm = nn.LayerNorm(7)
        self.scale = nn.Parameter(torch.ones(7))
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.tanh(block(x))
        scores: Tensor = self.head(self.norm(x) * self.scale)
        return scores


def parameters_spread() -> Weights:
    torch.manual_seed(0)
    return _tuned(
        Stacked(), Stacked(), accuracy, train=clusters(6, 21), optimizer="adamw", sharded=True, ema=0.9
    )


def parameters_spread_with_norms() -> Weights:
    return _tuned(classifier(1), classifier(0), train=clusters(6, 21), sharded=True, clip=0.1)


def _solved(model: nn.Module, batches: Any) -> Weights:
    """Half of every axis cut, and what is left solved again."""
    model = model.eval()
    data = list(batches) if isinstance(batches, DataLoader) else batches
    net = trace(model, data[0])
    plan = Plan(kept={axis.name: tuple(range(0, axis.size, 2)) for axis in net.prunable})
    made = cut(net, plan).model
    before = deepcopy(made.state_dict())
    record = Reconstruct().apply(made, Situation(model, batches, seed=3, net=net, plan=plan))
    after = made.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in after)
    deviation = torch.tensor([record.options["deviation_before"], record.options["deviation_after"]])
    return {**after, "deviation": deviation, "batches": torch.tensor(record.options["batches"])}


def convolutions_solved() -> Weights:
    """Rectifiers, batch norms and a residual sum; batches of odd sizes, more than one to a process."""
    return _solved(small(), [x for x, _ in patterns(5, 7)])


def linear_layers_and_scales_solved() -> Weights:
    torch.manual_seed(0)
    return _solved(Stacked(), [x for x, _ in clusters(4, 21)])


def one_batch_solved() -> Weights:
    """The second process has none, and takes part all the same."""
    return _solved(small(), [patterns(1, 9)[0][0]])


def batches_of_two_shapes_solved() -> Weights:
    return _solved(small(), [x for x, _ in [*patterns(3, 8), *patterns(1, 5)]])


def queries_and_keys_solved() -> Weights:
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    return _solved(Attending(), [torch.randn(5, 9, 16, generator=draw) for _ in range(3)])


def solved_by_the_first() -> Weights:
    """A loader with batches of its own for each process."""
    x = torch.cat([x for x, _ in clusters(4, 20)])
    sampler = DistributedSampler(x, processes.world(), processes.rank(), shuffle=False)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return _solved(Stacked(), DataLoader(x, batch_size=10, sampler=sampler))  # type: ignore[arg-type]


TOLERANCES: dict[Callable[[], Weights], float] = {
    plain: 1e-5,
    norms_and_dropout: 1e-5,
    pictures_with_an_odd_sample: 1e-5,
    a_batch_too_small_to_split: 1e-5,
    distilled_and_mixed: 1e-5,
    batch_norm: 1e-6,
    parameters_spread: 1e-5,
    parameters_spread_with_norms: 1e-5,
    convolutions_solved: 1e-5,
    linear_layers_and_scales_solved: 1e-5,
    one_batch_solved: 1e-5,
    batches_of_two_shapes_solved: 1e-5,
    queries_and_keys_solved: 1e-5,
}
"""Largest difference of any weight, statistic or loss; float32 sums are rounded otherwise."""


@pytest.fixture(scope="module")
def found() -> list[dict[str, Weights]]:
    return in_ranks(*TOLERANCES, split_by_the_loader, solved_by_the_first)


@pytest.mark.parametrize("function", TOLERANCES)
def test_two_processes_leave_the_weights_of_one(
    function: Callable[[], Weights], found: list[dict[str, Weights]]
) -> None:
    alone = function()
    for ranked in found:
        weights = ranked[function.__name__]
        assert weights.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(weights[name], value, rtol=0, atol=TOLERANCES[function])


@pytest.mark.parametrize("function", [*TOLERANCES, split_by_the_loader, solved_by_the_first])
def test_all_processes_hold_the_same_bits(
    function: Callable[[], Weights], found: list[dict[str, Weights]]
) -> None:
    first, second = (ranked[function.__name__] for ranked in found)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_split_loader_is_used_as_it_is(found: list[dict[str, Weights]]) -> None:
    """Every second sample to each of two processes: together, the batches that one would see."""
    x, y = (torch.cat(parts) for parts in zip(*clusters(6, 20), strict=True))
    order = torch.arange(120).reshape(6, 10, 2).mT.reshape(6, 20)
    batches: Any = DataLoader([(x[o], y[o]) for o in order], batch_size=None)  # draws a seed as theirs does
    wanted = _tuned(classifier(1), classifier(0), train=batches, loss="label", clip=None)
    for name, value in found[0]["split_by_the_loader"].items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-5)
