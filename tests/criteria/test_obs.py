"""Optimal brain surgery for units, against least squares solved again for every choice of units."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from penjing.criteria.obs import Consumer, Obs, removal
from penjing.criteria.statistics import collect
from penjing.network import trace

SIZE = 4


def case(seed: int, taps: int, groups: int = 1, outputs: int = 3) -> tuple[Consumer, np.ndarray]:
    """A layer that reads `taps` features of each of four units, and the features of 60 rows."""
    generator = np.random.default_rng(seed)
    width = SIZE * taps
    x = generator.normal(size=(groups, 60, width)) @ generator.normal(size=(groups, width, width))
    x -= x.mean(1, keepdims=True)
    weight = generator.normal(size=(groups, outputs, width))
    covariance = x.transpose(0, 2, 1) @ x / 60
    units = torch.arange(SIZE).repeat(taps)
    sensitivity = torch.tensor(generator.uniform(0.5, 2, size=(groups, outputs)))
    return Consumer(torch.tensor(weight), torch.tensor(covariance), sensitivity, units), x


def joint(consumer: Consumer, x: np.ndarray, gone: tuple[int, ...]) -> float:
    """Mean squared error, weighed by output, if the units go and all other weights are solved again."""
    stay = np.flatnonzero(~np.isin(consumer.units.numpy(), gone))
    total = 0.0
    for group in range(len(x)):
        aim = x[group] @ consumer.weight[group].numpy().T
        solved = np.linalg.lstsq(x[group][:, stay], aim, rcond=None)[0]
        left = np.square(aim - x[group][:, stay] @ solved).mean(0)
        total += float(left @ consumer.sensitivity[group].numpy())
    return total


def undamped(consumers: list[Consumer], base: Tensor | None = None) -> Tensor:
    base = torch.zeros(SIZE, dtype=torch.float64) if base is None else base
    return removal([replace(consumer, damping=1e-12) for consumer in consumers], base)


@pytest.mark.parametrize("taps", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_first_unit_to_go_is_the_cheapest_and_costs_what_it_costs(seed: int, groups: int, taps: int) -> None:
    consumer, x = case(seed, taps, groups)
    alone = [joint(consumer, x, (unit,)) for unit in range(SIZE)]
    worth = undamped([consumer])
    assert int(worth.argmin()) == int(np.argmin(alone))
    assert float(worth.min()) == pytest.approx(min(alone), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_costs_on_the_way_add_up_to_that_of_the_joint_removal(seed: int) -> None:
    # Worth is the largest step so far; where steps grow, their sum is the cost of the whole cut.
    consumer, x = case(seed, 1)
    worth = undamped([consumer])
    order = worth.argsort(stable=True).tolist()
    steps, before = [], 0.0
    for many in range(1, SIZE + 1):
        now = joint(consumer, x, tuple(order[:many]))
        steps.append(now - before)
        before = now
    np.testing.assert_allclose(worth[order], np.maximum.accumulate(steps), rtol=1e-6)
    assert before == pytest.approx(sum(steps))


@pytest.mark.parametrize("seed", range(8))
def test_greedy_choice_of_two_is_near_the_best_of_all_pairs(seed: int) -> None:
    consumer, x = case(seed, 2)
    chosen = tuple(undamped([consumer]).argsort(stable=True)[:2].tolist())
    best = min(joint(consumer, x, pair) for pair in itertools.combinations(range(SIZE), 2))
    assert joint(consumer, x, chosen) <= 1.5 * best


def test_costs_of_several_consumers_and_the_base_add_up() -> None:
    (one, x), (other, y) = case(1, 1), case(2, 2)
    base = torch.tensor([0.0, 10.0, 0.0, 0.0], dtype=torch.float64)
    alone = [joint(one, x, (u,)) + joint(other, y, (u,)) + float(base[u]) for u in range(SIZE)]
    worth = undamped([one, other], base)
    assert float(worth.min()) == pytest.approx(min(alone), rel=1e-6)
    assert int(worth.argmax()) == 1 or float(worth[1]) >= 10.0


def test_unit_that_others_add_up_to_costs_nothing_and_the_others_then_do() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 200, SIZE))
    x[..., 2] = 2 * x[..., 0] - x[..., 1]
    x -= x.mean(1, keepdims=True)
    covariance = torch.tensor(x.transpose(0, 2, 1) @ x / 200)
    weight = torch.ones(1, 2, SIZE, dtype=torch.float64)
    ones = torch.ones(1, 2, dtype=torch.float64)
    worth = removal(
        [Consumer(weight, covariance, ones, torch.arange(SIZE), damping=1e-9)],
        torch.zeros(SIZE, dtype=torch.float64),
    )
    ordered = worth.sort().values
    assert float(ordered[0]) < 1e-6
    assert float(ordered[1]) > 0.1


def test_unit_that_never_varies_costs_nothing() -> None:
    consumer, _ = case(0, 1)
    covariance = consumer.covariance.clone()
    covariance[:, 1], covariance[:, :, 1] = 0.0, 0.0
    worth = undamped([Consumer(consumer.weight, covariance, consumer.sensitivity, consumer.units)])
    assert int(worth.argmin()) == 1
    assert float(worth[1]) < 1e-9


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([1, 2, 3, 256]))
def test_worth_is_finite_not_negative_and_one_for_each_unit(seed: int, taps: int, rounds: int) -> None:
    consumer, _ = case(seed, taps)
    worth = removal([consumer], torch.zeros(SIZE, dtype=torch.float64), rounds=rounds)
    assert worth.shape == (SIZE,)
    assert bool(worth.isfinite().all())
    assert bool((worth >= 0).all())


def test_units_that_go_together_are_updated_together() -> None:
    consumer, x = case(3, 1)
    worth = removal([replace(consumer, damping=1e-12)], torch.zeros(SIZE, dtype=torch.float64), rounds=2)
    alone = sorted(joint(consumer, x, (unit,)) for unit in range(SIZE))
    np.testing.assert_allclose(worth.sort().values[:2], alone[:2], rtol=1e-6)


def test_covariance_that_rounding_made_indefinite_is_damped_until_it_is_not() -> None:
    consumer, _ = case(0, 1)
    covariance = -1e-3 * torch.eye(SIZE, dtype=torch.float64)[None]
    worth = undamped([Consumer(consumer.weight, covariance, consumer.sensitivity, consumer.units)])
    assert bool(worth.isfinite().all())


class Repeating(nn.Module):
    """Hidden unit 3 is the sum of units 0 and 1, whatever comes in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        with torch.no_grad():
            self.first.weight[3] = self.first.weight[0] + self.first.weight[1]
            self.last.weight[:, 3] *= 50

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.first(x))
        return y


def worths(model: nn.Module, data: list[Tensor]) -> dict[str, Tensor]:
    net = trace(model.eval(), data[0])
    statistics = collect(net, {"grams"}, data=data, loss=None)
    return {axis.name: Obs().worth(axis, statistics) for axis in net.prunable}


def test_redundant_unit_is_the_first_of_its_axis_however_large_its_weights() -> None:
    data = [torch.randn(64, 4, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    (worth,) = worths(Repeating(), data).values()
    # Six units of four inputs: two are redundant, whichever, and of 0, 1 and 3 one is.
    assert bool((worth.sort().values[:2] < 0.05 * worth.max()).all())


def test_depthwise_and_transposed_convolutions_tell_of_their_units() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 8, 2, stride=2, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
    )
    found = worths(model, [torch.randn(4, 3, 9, 9) for _ in range(2)])
    assert found
    for worth in found.values():
        assert bool(worth.isfinite().all())
        assert float(worth.max()) > 0


def test_unit_that_only_a_recurrent_layer_reads_counts_in_full() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.rnn, self.out = nn.Linear(3, 5), nn.GRU(5, 4, batch_first=True), nn.Linear(4, 2)
            with torch.no_grad():
                self.embed.weight[2], self.embed.bias[2] = 1e-4, 0.0

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.out(self.rnn(functional.relu(self.embed(x)))[0])
            return y

    data = [torch.randn(8, 5, 3) for _ in range(2)]
    worth = next(worth for name, worth in worths(Recurrent(), data).items() if name.startswith("embed"))
    assert int(worth.argmin()) == 2
    assert float(worth.median()) > 0
