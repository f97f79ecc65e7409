"""Query-key widths that were cut: scores against singular values, and against loops over all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.network import trace
from penjing.network.pairs import pairs
from penjing.network.projection import projections
from penjing.plan import Plan
from penjing.recover import Reconstruct, Situation
from penjing.recover.reconstruction import walk
from penjing.recover.reconstruction.scores import Heads, Seen, best, error
from penjing.surgery import cut

WIDTH, FEATURES, HEADS, ROWS = 4, 6, 2, 50


def case(seed: int = 0) -> tuple[Heads, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    query, key = (torch.tensor(draw.normal(size=(HEADS, WIDTH, FEATURES))) for _ in range(2))
    mixed = (draw.normal(size=(ROWS, FEATURES)) @ draw.normal(size=(FEATURES, FEATURES)) for _ in range(2))
    queries, keys = mixed
    return Heads(query, key), queries, keys - keys.mean(0)


def seen(queries: Sequence[np.ndarray], keys: Sequence[np.ndarray]) -> Seen:
    """Of the cut network's rows and the original's."""
    q, k = np.concatenate(queries, 1), np.concatenate(keys, 1)
    return Seen(
        torch.tensor(q.T @ q / ROWS), torch.tensor(k.T @ k / ROWS), (queries[0].shape[1], keys[0].shape[1])
    )


def scores(heads: Heads, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Of all pairs of a query and a key, [heads, queries, keys]."""
    found = [
        (queries @ q.numpy().T) @ (keys @ k.numpy().T).T for q, k in zip(heads.query, heads.key, strict=True)
    ]
    return np.stack(found)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(one - other).sum() / ROWS**2)


@pytest.mark.parametrize("seed", range(3))
def test_full_width_gives_the_scores_again(seed: int) -> None:
    original, x, y = case(seed)
    found = best(original, WIDTH, seen((x, x), (y, y)), 0.0)
    np.testing.assert_allclose(scores(found, x, y), scores(original, x, y), atol=1e-8)


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_error_of_a_width_is_what_its_singular_values_leave(seed: int, width: int) -> None:
    original, x, y = case(seed)
    moments = seen((x, x), (y, y))
    found = best(original, width, moments, 0.0)
    wanted = 0.0
    for q, k in zip(original.query.numpy(), original.key.numpy(), strict=True):
        values = np.linalg.svd(x @ q.T @ k @ y.T / ROWS, compute_uv=False)
        wanted += float(np.square(values[width:]).sum())
    assert apart(scores(found, x, y), scores(original, x, y)) == pytest.approx(wanted, rel=1e-6)
    assert error(original, found, moments) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_error_is_the_mean_over_all_pairs_where_inputs_differ(seed: int) -> None:
    original, x, y = case(seed)
    other, x_cut, y_cut = case(seed + 10)
    told = error(original, other, seen((x_cut, x), (y_cut, y)))
    assert told == pytest.approx(apart(scores(other, x_cut, y_cut), scores(original, x, y)), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_weights_are_nearer_where_inputs_differ(seed: int) -> None:
    original, x, y = case(seed)
    draw = np.random.default_rng(seed)
    x_cut, y_cut = (z[:, :5] + 0.3 * draw.normal(size=(ROWS, 5)) for z in (x, y))
    moments = seen((x_cut, x), (y_cut, y))
    found = best(original, 2, moments, 0.0)
    least = error(original, found, moments)
    for size in (1e-3, 1e-2, 1.0):
        moved = (w + size * torch.tensor(draw.normal(size=w.shape)) for w in (found.query, found.key))
        assert error(original, Heads(*moved), moments) >= least - 1e-12


class Attending(nn.Module):
    """One layer of self-attention, queries and keys multiplied in one of several ways."""

    def __init__(self, way: str = "sdpa", *, bias: bool = True) -> None:
        super().__init__()
        self.q, self.k = (nn.Linear(16, 16, bias=bias) for _ in range(2))
        self.v, self.out, self.way = nn.Linear(16, 16), nn.Linear(16, 5), way

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        memory = x if memory is None else memory
        q, k, v = (
            layer(given).view(len(x), -1, 2, 8).transpose(1, 2)
            for layer, given in ((self.q, x), (self.k, memory), (self.v, memory))
        )
        if self.way == "sdpa":
            mixed = functional.scaled_dot_product_attention(q, k, v)
        elif self.way == "rotary":
            turned = (torch.cat([-part[..., 4:], part[..., :4]], -1) + 0.1 * part for part in (q, k))
            mixed = functional.scaled_dot_product_attention(*turned, v)
        elif self.way == "curved":
            mixed = functional.scaled_dot_product_attention(q * q, k, v)
        elif self.way == "squared":
            products = q @ k.transpose(2, 3)
            mixed = (products * products).softmax(-1) @ v
        elif self.way == "relu":
            mixed = (q @ k.transpose(2, 3) / 8).relu() @ v
        else:
            mixed = (q @ k.transpose(2, 3) * 8**-0.5).softmax(-1) @ v
        scores: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return scores


def cut_in_half(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[nn.Module, Situation]:
    net = trace(model.eval(), inputs)
    ((_, pair),) = pairs(net, projections(net.trace)).items()
    plan = Plan(kept={pair.axis: (0, 3, 5)})
    draw = torch.Generator().manual_seed(1)
    mix = torch.randn(16, 16, generator=draw)
    data = [{each: torch.randn(6, 9, 16, generator=draw) @ mix for each in inputs} for _ in range(4)]
    return cut(net, plan).model, Situation(model, data, net=net, plan=plan)


def deviations(made: nn.Module, situation: Situation, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """After reconstruction with queries and keys solved apart, and together."""
    apart = deepcopy(made)
    with monkeypatch.context() as patched:
        patched.setattr(walk, "pairs", lambda *_: {})
        one = Reconstruct().apply(apart, situation).options["deviation_after"]
    return one, Reconstruct().apply(made, situation).options["deviation_after"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", ["sdpa", "softmax", "relu"])
def test_queries_and_keys_solved_together_are_nearer_than_apart(
    way: str, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    made, situation = cut_in_half(Attending(way, bias=bias), {"x": torch.randn(2, 9, 16)})
    apart, together = deviations(made, situation, monkeypatch)
    assert together < 0.7 * apart


def test_queries_and_keys_of_different_inputs_are_solved_together(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    inputs = {"x": torch.randn(2, 9, 16), "memory": torch.randn(2, 9, 16)}
    made, situation = cut_in_half(Attending(), inputs)
    apart, together = deviations(made, situation, monkeypatch)
    assert together < 0.7 * apart


@pytest.mark.parametrize(
    ("way", "centred"),
    [
        ("sdpa", True),
        ("softmax", True),
        ("relu", False),
        ("squared", False),
        ("rotary", None),
        ("curved", None),
    ],
)
def test_pairs_are_found_where_only_products_are_read(way: str, centred: bool | None) -> None:
    net = trace(Attending(way).eval(), torch.randn(2, 9, 16))
    found = pairs(net, projections(net.trace))
    assert [pair.centred for pair in found.values()] == ([] if centred is None else [centred])


def test_heads_that_went_too_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Attending().eval()
    net = trace(model, torch.randn(2, 9, 16))
    ((_, pair),) = pairs(net, projections(net.trace)).items()
    width = pair.axis
    heads = next(axis.name for axis in net.prunable if axis.name.endswith("heads"))
    plan = Plan(kept={width: (1, 2, 6), heads: (1,)})
    draw = torch.Generator().manual_seed(1)
    data = [torch.randn(6, 9, 16, generator=draw) for _ in range(4)]
    made = cut(net, plan).model
    apart, together = deviations(made, Situation(model, data, net=net, plan=plan), monkeypatch)
    assert together <= apart
    assert made.q.weight.shape == (3, 16)
