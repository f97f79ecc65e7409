"""Laws of planning: within the budget or an error, never less worth for more, close to the optimum."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing import plan
from penjing.errors import PenjingError
from penjing.plan import Allocator, Plan, Summed, Term
from penjing.plan.choices import Choice
from penjing.plan.frontier import Frontier
from penjing.plan.point import Problem
from tests.plan import networks


@dataclass(frozen=True)
class Instance:
    """A made-up network: widths, worth, and how much every pair of axes costs together."""

    problem: Problem
    pairs: Mapping[str, dict[tuple[int, int], float]]

    def cost(self, quantity: str, at: tuple[int, ...]) -> float:
        """By plain arithmetic."""
        widths = [choice.levels[level] for choice, level in zip(self.problem.choices, at, strict=True)]
        return sum(rate * widths[a] * widths[b] for (a, b), rate in self.pairs[quantity].items())

    def worth(self, at: tuple[int, ...]) -> float:
        return sum(float(c.worth[level]) for c, level in zip(self.problem.choices, at, strict=True))

    def everything(self) -> itertools.product[int]:
        return itertools.product(*(range(len(choice.levels)) for choice in self.problem.choices))


def instance(rng: random.Random, *, axes: int, levels: int, quantities: int = 1) -> Instance:
    """A chain of layers, some of which share an axis, with worth that falls off from unit to unit."""
    choices = []
    for number in range(axes):
        step, count = rng.choice([2, 4, 8]), rng.randint(2, levels)
        widths = tuple(step * (n + 1) for n in range(count))
        units = np.sort([rng.random() ** rng.choice([1, 3]) for _ in range(widths[-1])])[::-1]
        worth = np.cumsum(units)[[width - 1 for width in widths]] * rng.choice([1, 1, 3])
        choices.append(Choice((f"a{number}",), widths, worth, float(worth[-1]), ""))
    links = [(n, n + 1) for n in range(axes - 1)] + [(n, n) for n in range(axes) if rng.random() < 0.3]
    links += [(a, b) for a, b in itertools.combinations(range(axes), 2) if rng.random() < 0.2]
    pairs = {
        f"q{number}": {link: rng.choice([0.5, 1, 4, 9]) for link in dict.fromkeys(links)}
        for number in range(quantities)
    }

    def term(a: int, b: int, rate: float) -> Term:
        return Term(frozenset({f"a{a}", f"a{b}"}), lambda counts: rate * counts[f"a{a}"] * counts[f"a{b}"])

    costs = {
        quantity: Summed(term(a, b, rate) for (a, b), rate in rates.items())
        for quantity, rates in pairs.items()
    }
    return Instance(Problem(choices, costs), pairs)


def ends(made: Instance, quantity: str) -> tuple[float, float]:
    """The least and the most it can cost."""
    full = tuple(len(choice.levels) - 1 for choice in made.problem.choices)
    return made.cost(quantity, (0,) * len(full)), made.cost(quantity, full)


@given(st.integers(0, 2**32), st.floats(0, 1.1))
def test_frontier_is_within_its_limit_or_has_nothing(seed: int, part: float) -> None:
    made = instance(random.Random(seed), axes=5, levels=5)
    least, most = ends(made, "q0")
    limit = part * most
    found = Frontier(made.problem, {"q0": 1.0}).best({"q0": limit})
    if limit < least * (1 - 1e-9):
        assert found is None
    elif limit > least * (1 + 1e-9):
        assert found is not None
        assert made.cost("q0", found.at) <= limit * (1 + 1e-9)
        assert made.cost("q0", found.at) == pytest.approx(found.totals["q0"], rel=1e-9)
        assert made.worth(found.at) == pytest.approx(found.worth, rel=1e-9)


@given(st.integers(0, 2**32), st.lists(st.floats(0.01, 1.05), min_size=2, max_size=12))
def test_frontier_is_never_worth_less_for_a_larger_limit(seed: int, parts: list[float]) -> None:
    made = instance(random.Random(seed), axes=6, levels=6)
    most = ends(made, "q0")[1]
    frontier = Frontier(made.problem, {"q0": 1.0})
    asked = {part: frontier.best({"q0": part * most}) for part in parts}  # in any order
    worth = [-np.inf if asked[part] is None else made.worth(asked[part].at) for part in sorted(asked)]
    assert all(before <= after + 1e-9 for before, after in itertools.pairwise(worth))


@given(st.integers(0, 2**32), st.floats(0.2, 5), st.lists(st.floats(0.01, 1.05), min_size=2, max_size=6))
def test_frontier_is_never_worth_less_when_several_limits_grow_in_proportion(
    seed: int, ratio: float, parts: list[float]
) -> None:
    made = instance(random.Random(seed), axes=4, levels=5, quantities=2)
    direction = {"q0": ends(made, "q0")[1], "q1": ratio * ends(made, "q1")[1]}
    frontier = Frontier(made.problem, direction)
    worth = []
    for part in sorted(set(parts)):
        limits = {quantity: part * unit for quantity, unit in direction.items()}
        found = frontier.best(limits)
        if found is not None:
            assert all(made.cost(q, found.at) <= limit * (1 + 1e-9) for q, limit in limits.items())
        worth.append(-np.inf if found is None else made.worth(found.at))
    assert all(before <= after + 1e-9 for before, after in itertools.pairwise(worth))


@pytest.mark.parametrize(("quantities", "mean", "worst"), [(1, 0.002, 0.05), (2, 0.005, 0.1)])
def test_frontier_is_close_to_the_optimum_of_small_instances(
    quantities: int, mean: float, worst: float
) -> None:
    """Against every choice there is: 40 instances of five axes, seven budgets each."""
    gaps = []
    for seed in range(40):
        made = instance(random.Random(seed), axes=5, levels=5, quantities=quantities)
        most = {quantity: ends(made, quantity)[1] for quantity in made.pairs}
        frontier = Frontier(made.problem, most)
        points = [(made.worth(at), {q: made.cost(q, at) for q in most}) for at in made.everything()]
        for part in (0.9, 0.75, 0.6, 0.45, 0.3, 0.2, 0.1):
            limits = {quantity: part * cost for quantity, cost in most.items()}
            best = max(
                (worth for worth, cost in points if all(cost[q] <= limits[q] for q in limits)), default=None
            )
            found = frontier.best(limits)
            assert (found is None) == (best is None)
            if found is not None and best is not None:
                assert found.worth <= best * (1 + 1e-9)
                gaps.append(1 - found.worth / best)
    assert len(gaps) > 150
    assert float(np.mean(gaps)) <= mean
    assert max(gaps) <= worst


NETWORKS = ["resnet_bottleneck", "shufflenet_v2", "vit"]


@functools.cache
def allocator(name: str, floor: float, step: int) -> Allocator:
    net = networks.zoo(name)
    costs = {"macs": plan.macs(net), "params": plan.parameters(net)}
    return Allocator(net, networks.randoms(net), costs, floor=floor, steps=step)


def planned(planner: Allocator, limits: Mapping[str, float]) -> Plan | None:
    """The plan; None where the budget cannot be met."""
    try:
        return planner.allocate(limits).plan
    except PenjingError as error:
        if error.code != "PJ503":
            raise
        return None


@pytest.mark.parametrize("name", NETWORKS[1:])
@given(data=st.data())
def test_plan_meets_its_budget_keeps_its_floors_and_survives_json_or_raises(
    name: str, data: st.DataObject
) -> None:
    net = networks.zoo(name)
    floor, step = data.draw(st.sampled_from([0.0, 0.25])), data.draw(st.sampled_from([1, 8]))
    quantity, share = data.draw(st.sampled_from(["macs", "params"])), data.draw(st.floats(0.01, 1.2))
    limit = share * {"macs": net.macs, "params": net.parameters}[quantity]
    made = planned(allocator(name, floor, step), {quantity: limit})
    if made is None:
        return
    counts = made.counts()
    after = {"macs": net.macs_at(counts), "params": net.parameters_at(counts)}
    assert after[quantity] <= limit
    assert (made == Plan()) == (share >= 1)
    for axis in net.prunable:
        assert counts.get(axis.name, axis.size) >= max(1, floor * axis.size - 1e-6)
    assert Plan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("step", [1, 16])
def test_plan_is_never_worth_less_for_a_larger_budget(name: str, step: int) -> None:
    net, planner = networks.zoo(name), allocator(name, 0.1, step)
    worth = []
    for percent in range(100, 4, -1):
        try:
            worth.append(planner.allocate({"macs": net.macs * percent / 100}).worth)
        except PenjingError:
            break
    assert len(worth) > 70
    assert all(larger >= smaller - 1e-12 for larger, smaller in itertools.pairwise(worth))
    assert worth[0] == 1.0
