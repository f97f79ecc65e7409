"""Optimal brain surgery against brute force, and SparseGPT against what it approximates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.compress.masks import NM
from penjing.compress.masks.obs import Goal, inverse, removed, saliency, sparsegpt

GOALS = [Goal(0.5), Goal(0.73), Goal(n=2, m=4), Goal(n=1, m=3)]


def layer(outputs: int = 6, features: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights, and inputs that depend on one another: a third as many causes, and noise."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(features // 3, features, generator=generator, dtype=torch.float64)
    causes = torch.randn(200, features // 3, generator=generator, dtype=torch.float64)
    x = causes @ mixed + 0.5 + 0.3 * torch.randn(200, features, generator=generator, dtype=torch.float64)
    return torch.randn(outputs, features, generator=generator, dtype=torch.float64), x


def test_single_weights_are_those_of_leave_one_out() -> None:
    """Without a feature, least squares on the inputs themselves: the same weights, the same error."""
    weight, x = layer()
    inverted = inverse(x.T @ x / len(x), damping=0.0)
    costs = saliency(weight, inverted)
    for row, cost in zip(weight, costs, strict=True):
        target = (x @ row).numpy()
        for feature in range(len(row)):
            others = [i for i in range(len(row)) if i != feature]
            best, *_ = np.linalg.lstsq(x.numpy()[:, others], target, rcond=None)
            found = removed(row, inverted, feature).numpy()
            assert found[feature] == 0
            np.testing.assert_allclose(found[others], best, rtol=1e-7, atol=1e-9)
            error = np.mean((x.numpy()[:, others] @ best - target) ** 2)
            assert float(cost[feature]) == pytest.approx(error, rel=1e-7)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("block", [1, 5, 128])
def test_every_weight_makes_up_for_all_before_it(goal: Goal, block: int) -> None:
    """Column by column in numpy: the best for what is fixed already, or zero where the mask has it."""
    weight, x = layer()
    moments = x.T @ x / len(x)
    found, kept = sparsegpt(weight, moments, goal, damping=0.0, block=block)
    h, w = moments.numpy(), weight.numpy()
    for row in range(len(w)):
        change = np.zeros(w.shape[1])
        for j in range(w.shape[1]):
            rest = -np.linalg.solve(h[j:, j:], h[j:, :j] @ change[:j]) if j else np.zeros(w.shape[1])
            change[j] = rest[0] if kept[row, j] else -w[row, j]
        np.testing.assert_allclose(found[row].numpy(), w[row] + change, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("goal", GOALS)
def test_counts_are_exact_and_the_error_is_less_than_that_of_zeros_alone(goal: Goal) -> None:
    weight, x = layer(outputs=8, features=24)
    found, kept = sparsegpt(weight, x.T @ x / len(x), goal, block=8)
    assert torch.equal(found != 0, kept)
    if goal.m:
        assert bool((kept.view(8, -1, goal.m).sum(2) == goal.n).all())
    else:
        assert int((~kept).sum()) == round(goal.share * weight.numel())

    def error(other: Tensor) -> float:
        return float((x @ (weight - other).T).square().mean())

    assert error(found) < error(weight * kept)
    threshold = weight.abs().flatten().sort().values[int((~kept).sum())]
    largest = NM(goal.n, goal.m).fixed(weight.abs()) if goal.m else weight.abs() >= threshold
    assert error(found) < error(weight * largest)
    exact = torch.zeros_like(weight)  # the best for this mask
    for row, own in enumerate(kept):
        exact[row, own] = torch.linalg.lstsq(x[:, own], x @ weight[row]).solution
    assert error(exact) <= error(found)


def test_features_that_are_always_zero_go_first() -> None:
    weight, x = layer()
    x[:, 3] = 0
    for goal in (Goal(1 / 12), Goal(n=2, m=4)):
        _, kept = sparsegpt(weight, x.T @ x / len(x), goal)
        assert not bool(kept[:, 3].any())
    found, _ = sparsegpt(weight, torch.zeros(12, 12), Goal(0.5))
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_network_loses_less_than_by_magnitude(pattern: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 16, 16), nn.ReLU(), nn.Linear(16, 4),
    ).eval()  # fmt: skip
    mixed = torch.randn(4, 4)
    data = [torch.einsum("nchw,cd->ndhw", torch.randn(16, 4, 6, 6), mixed) + 1 for _ in range(8)]
    unseen = torch.einsum("nchw,cd->ndhw", torch.randn(64, 4, 6, 6), mixed) + 1
    options = {} if pattern == "2:4" else {"sparsity": 0.5, "scope": "layer"}
    errors = {}
    for criterion in ("magnitude", "sparsegpt"):
        found = pj.sparsify(model, data[0], pattern=pattern, criterion=criterion, data=data, **options)
        assert found.masks.keys() == {f"{i}.weight" for i in (0, 2, 5, 7)}
        for name, mask in found.masks.items():
            assert int(mask.sum()) == mask.numel() // 2, name
            if pattern == "2:4":
                assert bool((mask.movedim(1, -1).reshape(-1, 4).sum(1) == 2).all())
        errors[criterion] = float((found.model(unseen) - model(unseen)).detach().square().mean())
        assert found.record.criterion == criterion
    assert errors["sparsegpt"] < 0.5 * errors["magnitude"]


def test_layers_are_solved_on_what_the_sparse_ones_before_them_give() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    data = [torch.randn(64, 8) for _ in range(2)]
    found = pj.sparsify(
        model, data[0], criterion="sparsegpt", sparsity=0.5, scope="layer", data=data, bake=True
    ).model
    with torch.no_grad():
        h = torch.relu(found[0](torch.cat(data))).double()  # of the sparse first layer
        by_hand, _ = sparsegpt(model[2].weight, h.T @ h / len(h), Goal(0.5))
    torch.testing.assert_close(found[2].weight.double(), by_hand, rtol=1e-4, atol=1e-5)
