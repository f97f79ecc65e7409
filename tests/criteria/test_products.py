"""Widths of queries and keys, against singular values of the scores themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penjing.criteria.grams import Grams
from penjing.criteria.obs import Obs
from penjing.criteria.products import energies
from penjing.criteria.statistics import collect
from penjing.network import Network, trace
from tests.recover.test_scores import Attending


def data() -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(16, 16, generator=draw)
    return [1 + torch.randn(5, 9, 16, generator=draw) @ mix for _ in range(3)]


def traced(way: str, *, bias: bool, rank: int = 8) -> tuple[Network, str]:
    """With queries of every head along so many directions only."""
    torch.manual_seed(0)
    model = Attending(way, bias=bias).eval()
    with torch.no_grad():
        for head in model.q.weight.view(2, 8, 16):
            head.copy_(torch.randn(8, rank) @ torch.randn(rank, 16))
        if bias and rank < 8:
            model.q.bias.zero_()
    net = trace(model, data()[0])
    (name,) = Grams(net, data()).pairs
    return net, name


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", ["sdpa", "relu"])
def test_energies_are_squared_singular_values_of_all_scores(way: str, bias: bool) -> None:
    net, name = traced(way, bias=bias)
    grams = Grams(net, data())
    pair = grams.pairs[name]
    readings = grams.of([pair.query.weight, pair.key.weight])
    found = energies(net.axis(name), pair, readings, grams.parameter(pair.query.bias))
    x = torch.cat(data()).flatten(0, 1).double()
    layers: nn.Module = net.model.double()
    with torch.no_grad():
        q = layers.q(x).view(-1, 2, 8).numpy()
        k = (x @ layers.k.weight.double().T).view(-1, 2, 8).numpy()
    net.model.float()
    k = k - k.mean(0) if pair.centred else k
    values = [np.linalg.svd(q[:, h] @ k[:, h].T / len(x), compute_uv=False)[:8] for h in range(2)]
    np.testing.assert_allclose(found, np.square(values).sum(0), rtol=1e-4)


def test_width_beyond_the_rank_of_the_scores_is_worth_nothing() -> None:
    net, name = traced("sdpa", bias=True, rank=3)
    worth = Obs().worth(net.axis(name), collect(net, {"grams"}, data=data(), loss=None))
    ordered = worth.sort(descending=True).values
    assert float(ordered[3]) < 1e-6 * float(ordered[0])
    assert float(ordered[2]) > 1e-3 * float(ordered[0])


def test_units_that_put_out_most_are_kept_first() -> None:
    net, name = traced("sdpa", bias=True)
    with torch.no_grad():
        for layer in (net.model.q, net.model.k):
            layer.weight.view(2, 8, 16)[:, 5] *= 10
    worth = Obs().worth(net.axis(name), collect(net, {"grams"}, data=data(), loss=None))
    assert int(worth.argmax()) == 5
