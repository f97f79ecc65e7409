"""Statistics of two processes are those of one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from penjing.criteria import Correlation, HRank, Information, collect, get, score
from penjing.criteria.combined import Combined
from penjing.criteria.obd import Obd
from penjing.criteria.obs import Obs
from penjing.criteria.taylor import Taylor
from penjing.network import trace
from tests.criteria.networks import Residual
from tests.processes.ranks import in_ranks

TOLERANCE = 1e-12
"""Relative: float64 sums are added in another order."""


def data(sizes: tuple[int, ...] = (5, 5, 5, 3, 5)) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, 1, 4, 4, generator=draw) + 3, torch.randint(4, (n,), generator=draw)) for n in sizes
    ]


def loss(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(outputs, batch[1])


def _scores(criterion: Any, sizes: tuple[int, ...] = (5, 5, 5, 3, 5)) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = trace(Residual().eval(), torch.randn(2, 1, 4, 4))
    statistics = collect(net, criterion.record.needs, data=data(sizes), loss=loss)
    return score(net, criterion, statistics)


def taylor() -> dict[str, Tensor]:
    return _scores(Taylor())


def of_derivatives() -> dict[str, Tensor]:
    """All kinds of them, one criterion after another."""
    names = ("gradient", "snip", "movement", "fisher", "taylor_squared")
    parts = [*((get(name), name) for name in names), (Obd(probes=2), "obd")]
    torch.manual_seed(0)
    net = trace(Residual().eval(), torch.randn(2, 1, 4, 4))
    needs = Combined(tuple((part, 1.0) for part, _ in parts)).record.needs
    statistics = collect(net, needs, data=data(), loss=loss)
    found = {}
    for part, name in parts:
        scores = score(net, part, statistics, normalise="none")
        found |= {f"{name} {axis}": worth for axis, worth in scores.items()}
    return found


def obs() -> dict[str, Tensor]:
    return _scores(Obs())


def obs_of_one_batch() -> dict[str, Tensor]:
    return _scores(Obs(), (6,))


def information() -> dict[str, Tensor]:
    return _scores(Information())


def information_of_one_batch() -> dict[str, Tensor]:
    return _scores(Information(), (6,))


def correlation() -> dict[str, Tensor]:
    return _scores(Correlation())


def hrank() -> dict[str, Tensor]:
    return _scores(HRank())


FUNCTIONS = [
    taylor,
    of_derivatives,
    obs,
    obs_of_one_batch,
    information,
    information_of_one_batch,
    correlation,
    hrank,
]


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    return in_ranks(*FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_scores_of_two_processes_are_those_of_one(function: Any, found: list[dict[str, Any]]) -> None:
    alone = function()
    assert alone
    for ranked in found:
        for name, worth in alone.items():
            torch.testing.assert_close(ranked[function.__name__][name], worth, rtol=TOLERANCE, atol=0)


@pytest.mark.parametrize("function", [taylor, of_derivatives, obs])
def test_scores_are_of_the_same_bits_in_all_processes(function: Any, found: list[dict[str, Any]]) -> None:
    first, second = (ranked[function.__name__] for ranked in found)
    assert all(torch.equal(first[name], second[name]) for name in first)
