"""The proven optimum, against all choices there are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from penjing import plan
from penjing.devices import MemoryModel
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan import Allocator, Cost, Plain, Summed, Term
from penjing.plan.choices import Choice
from penjing.plan.optimum import optimum
from penjing.plan.point import Problem
from penjing.run.pricing import memory
from tests.plan import networks


def costs(net: Network) -> dict[str, Cost]:
    return {"macs": plan.macs(net), "params": plan.parameters(net), "memory": memory(MemoryModel(net))}


def choices_of(net: Network, levels: int, seed: int) -> list[Choice]:
    """A few widths of every axis, of random worth that grows with the width."""
    random, found = np.random.default_rng(seed), []
    for axis in net.prunable:
        widths = tuple(sorted({max(1, axis.size * n // levels) for n in range(1, levels + 1)}))
        worth = np.cumsum(random.random(len(widths)))
        found.append(Choice((axis.name,), widths, worth, float(worth[-1]), ""))
    return found


def best_of_all(problem: Problem, limits: Mapping[str, float]) -> float:
    """By looking at every choice there is."""
    spaces = [range(len(choice.levels)) for choice in problem.choices]
    worths = [
        problem.worth(at)
        for at in itertools.product(*spaces)
        if all(problem.totals(at)[quantity] <= limit for quantity, limit in limits.items())
    ]
    return max(worths, default=float("-inf"))


@pytest.mark.parametrize("bounded", [["macs"], ["params"], ["memory"], ["macs", "memory"]])
@pytest.mark.parametrize(("name", "levels"), [("resnet_basic", 3), ("mini_llama", 3), ("lstm_classifier", 6)])
def test_optimum_is_the_best_of_all_choices(name: str, levels: int, bounded: Sequence[str]) -> None:
    net = networks.zoo(name)
    known = costs(net)
    cuttable = choices_of(net, levels, seed=len(name))[:6]
    problem = Problem(cuttable, {quantity: known[quantity] for quantity in bounded})
    whole = problem.totals([len(choice.levels) - 1 for choice in cuttable])
    for share in (0.95, 0.8):
        limits = {quantity: share * whole[quantity] for quantity in bounded}
        expected = best_of_all(problem, limits)
        if expected == float("-inf"):
            with pytest.raises(PenjingError, match="PJ503"):
                optimum(problem, limits)
            continue
        found = optimum(problem, limits)
        assert found.proven
        assert found.worth == pytest.approx(expected, rel=1e-3)
        assert found.bound >= expected - 1e-9
        assert found.at is not None
        assert all(problem.totals(found.at)[q] <= limit * (1 + 1e-6) for q, limit in limits.items())


@pytest.mark.parametrize("quantity", ["macs", "params", "memory"])
@pytest.mark.parametrize("name", ["resnet_bottleneck", "mini_llama", "vit", "unet"])
def test_tables_add_up_to_the_cost(name: str, quantity: str) -> None:
    net = networks.zoo(name)
    cost, random = costs(net)[quantity], np.random.default_rng(0)
    cuttable = choices_of(net, 3, seed=0)
    asked = [(choice.axes, choice.levels) for choice in cuttable]
    found = cost.tables(asked)
    assert found is not None
    for _ in range(5):
        at = [int(random.integers(len(levels))) for _, levels in asked]
        counts = {axes[0]: levels[level] for (axes, levels), level in zip(asked, at, strict=True)}
        sums = [
            one.constant
            + sum(table[tuple(at[place] for place in places)] for places, table in one.parts.items())
            for one in found
        ]
        assert max(sums) == pytest.approx(cost.total(counts))


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_allocations_are_judged_against_it(share: float) -> None:
    net = networks.zoo("mini_llama")
    known = costs(net)
    allocator = Allocator(net, networks.randoms(net), {"macs": known["macs"]}, steps=4)
    judged = allocator.judged({"macs": share * known["macs"].total({})})
    assert judged.proven
    assert judged.worth is not None
    assert judged.allocation.worth <= judged.bound + 1e-9
    assert judged.worth == pytest.approx(judged.bound, rel=1e-3)
    assert judged.gap == pytest.approx(1 - judged.allocation.worth / judged.bound)
    assert 0 <= judged.gap < 0.02
    assert judged.allocation == allocator.allocate({"macs": share * known["macs"].total({})})


def test_cost_that_is_no_sum_is_refused() -> None:
    choice = Choice(("a",), (1, 2), np.array([0.0, 1.0]), 1.0, "")
    plain = Problem([choice], {"latency": Plain(lambda counts: 1.0, axes=["a"])})
    with pytest.raises(PenjingError, match="PJ516"):
        optimum(plain, {"latency": 2.0})


def test_tables_that_are_too_large_are_refused() -> None:
    names = [f"a{number}" for number in range(4)]
    levels = tuple(range(1, 33))
    wide = [Choice((name,), levels, np.arange(32.0), 31.0, "") for name in names]
    costs = Summed([Term(frozenset(names), lambda counts: 1.0)])
    with pytest.raises(PenjingError, match="PJ516"):
        optimum(Problem(wide, {"latency": costs}), {"latency": 2.0})


def test_bound_is_what_everything_is_worth_where_the_solver_has_no_time() -> None:
    net = networks.zoo("resnet_basic")
    known = costs(net)
    problem = Problem(choices_of(net, 8, seed=0), {"macs": known["macs"]})
    found = optimum(problem, {"macs": 0.3 * known["macs"].total({})}, seconds=0.0)
    assert not found.proven
    assert found.worth <= found.bound <= sum(float(choice.worth.max()) for choice in problem.choices) + 1e-9
