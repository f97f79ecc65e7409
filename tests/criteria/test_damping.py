"""How damping is chosen, against ridge regressions of every feature on the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from penjing.criteria.damping import DAMPINGS, LEAST, held_out
from penjing.criteria.obs import Consumer, removal


def drawn(samples: int, features: int, *, seed: int = 0) -> np.ndarray:
    """Features that a few things in common explain, and a little of their own."""
    generator = np.random.default_rng(seed)
    common = np.random.default_rng(7).normal(size=(6, features))
    return generator.normal(size=(samples, 6)) @ common + 0.3 * generator.normal(size=(samples, features))


def covariances(x: np.ndarray) -> list[torch.Tensor]:
    halves = [half - half.mean(0) for half in (x[::2], x[1::2])]
    return [torch.tensor(half.T @ half / len(half))[None] for half in halves]


def regressed(x: np.ndarray, squares: np.ndarray, damping: float) -> tuple[float, float]:
    """What ridge regressions leave of every feature: on the other half, and by their own word."""
    outside = inside = 0.0
    for seen, unseen in ((x[::2], x[1::2]), (x[1::2], x[::2])):
        seen, unseen = seen - seen.mean(0), unseen - unseen.mean(0)
        covariance = seen.T @ seen / len(seen)
        damped = covariance + damping * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        for j in range(x.shape[1]):
            others = np.arange(x.shape[1]) != j
            slope = np.linalg.solve(damped[np.ix_(others, others)], damped[others, j])
            outside += squares[j] * np.square(unseen[:, j] - unseen[:, others] @ slope).mean()
            inside += squares[j] * (damped[j, j] - damped[j, others] @ slope)
    return outside, inside


@pytest.mark.parametrize(("samples", "features"), [(200, 8), (24, 12), (16, 30)])
def test_damping_is_the_one_whose_ridge_regressions_do_best_on_the_other_half(
    samples: int, features: int
) -> None:
    x = drawn(samples, features)
    squares = np.random.default_rng(1).uniform(0.5, 2, size=features)
    figures = [regressed(x, squares, damping) for damping in DAMPINGS]
    best = int(np.argmin([outside for outside, _ in figures]))
    damping, factor = held_out(covariances(x), torch.tensor(squares)[None])
    assert damping == DAMPINGS[best]
    outside, inside = figures[best]
    assert factor == pytest.approx(outside / inside, rel=1e-3)


def test_many_samples_need_the_least_damping() -> None:
    assert held_out(covariances(drawn(4000, 10)), torch.ones(1, 10, dtype=torch.float64))[0] == LEAST


def test_nothing_that_varies_gives_finite_figures() -> None:
    nothing = [torch.zeros(1, 5, 5, dtype=torch.float64)] * 2
    assert held_out(nothing, torch.ones(1, 5, dtype=torch.float64)) == (LEAST, 1.0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("samples", "most"), [(20, 3.0), (40, 1.5), (160, 1.2), (1000, 1.1)])
def test_worth_is_what_other_samples_lose_however_few_there_are(samples: int, most: float, seed: int) -> None:
    """Of 40 units a half goes; on 20 samples they seem to cost next to nothing, and held out they do not."""
    features = 40
    x = drawn(samples, features, seed=seed)
    x = x - x.mean(0)
    weight = torch.tensor(np.random.default_rng(seed + 100).normal(size=(1, 5, features)))
    ones = torch.ones(1, 5, dtype=torch.float64)
    covariance = torch.tensor(x.T @ x / samples)[None]
    damping, factor = held_out(covariances(x), weight.square().sum(1))
    told = Consumer(weight, covariance, factor * ones, torch.arange(features), damping)
    naive = Consumer(weight, covariance, ones, torch.arange(features), 1e-6)
    zero = torch.zeros(features, dtype=torch.float64)
    truth = drawn(20000, features, seed=99)
    gone = removal([told], zero).argsort()[: features // 2].numpy()
    stay = np.setdiff1d(np.arange(features), gone)
    level = damping * np.trace(covariance[0].numpy()) / features
    damped = covariance[0].numpy() + level * np.eye(features)
    slope = np.linalg.solve(damped[np.ix_(stay, stay)], damped[np.ix_(stay, gone)])
    error = (truth[:, gone] - truth[:, stay] @ slope) @ weight[0].numpy()[:, gone].T
    lost = float(np.square(error).sum(1).mean())
    said = float(removal([told], zero).sort().values[: features // 2].sum())
    assert 0.9 * lost < said < most * lost
    if samples == 20:
        assert float(removal([naive], zero).sort().values[: features // 2].sum()) < 0.05 * lost
