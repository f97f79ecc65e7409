from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest

from penjing.devices import MemoryModel
from penjing.network import Network, Operator
from penjing.plan import Affine, Cost, Plain, Summed, Term, macs, operators, parameters
from penjing.run.pricing import memory
from tests.plan import networks

# Streams that many operators share, channel shuffles, products of axes, einsum (whose formula compares
# sizes), recurrent weights, tied embeddings.
NETWORKS = [
    "resnet_bottleneck",
    "shufflenet_v2",
    "mini_llama",
    "einsum_attention",
    "lstm_classifier",
    "universal_transformer",
]


def some_counts(net: Network, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    names = [axis for axis in net.prunable if rng.random() < 0.8]
    return {axis.name: rng.randint(1, axis.size) for axis in names}


def bytes_moved(operator: Operator, counts: Mapping[str, int]) -> float:
    """A cost that is not a polynomial: it steps."""
    return float(sum(-(-np.prod(shape) // 16) for shape in operator.outputs_at(counts)))


def all_costs(net: Network) -> dict[str, Cost]:
    names = [axis.name for axis in net.prunable]
    return {
        "macs": macs(net),
        "params": parameters(net),
        "steps": operators(net, bytes_moved),
        "scaled": Affine(parameters(net), slope=4.0, offset=1000.0),
        "plain": Plain(net.macs_at, axes=names),
        "memory": memory(MemoryModel(net)),
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_are_those_of_the_network_at_any_widths(name: str) -> None:
    net = networks.zoo(name)
    costs = all_costs(net)
    for seed in range(5):
        counts = some_counts(net, seed)
        assert costs["macs"].total(counts) == net.macs_at(counts)
        assert costs["params"].total(counts) == net.parameters_at(counts)
        assert costs["memory"].total(counts) == MemoryModel(net).bytes_at(counts)
        assert costs["plain"].total(counts) == net.macs_at(counts)
        assert costs["scaled"].total(counts) == 4 * net.parameters_at(counts) + 1000
        assert costs["steps"].total(counts) == sum(bytes_moved(op, counts) for op in net.operators)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("quantity", ["macs", "params", "steps", "scaled", "plain", "memory"])
def test_line_tells_how_totals_differ_from_level_to_level(name: str, quantity: str) -> None:
    net = networks.zoo(name)
    cost = all_costs(net)[quantity]
    counts = some_counts(net, 7)
    pairs = [(axis.name,) for axis in net.prunable] + [(net.prunable[0].name, net.prunable[-1].name)]
    for axes in pairs:
        size = min(net.axis(name).size for name in axes)
        levels = tuple(sorted({1, max(1, size // 3), max(1, size - 1), size}))
        line = cost.line(axes, levels, counts)
        totals = np.array([cost.total({**counts, **dict.fromkeys(axes, level)}) for level in levels])
        np.testing.assert_allclose(np.diff(line), np.diff(totals), rtol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("quantity", ["macs", "params", "steps", "scaled"])
def test_shift_brings_a_line_up_to_date_after_a_move(name: str, quantity: str) -> None:
    net = networks.zoo(name)
    cost = all_costs(net)[quantity]
    counts = some_counts(net, 3)
    for axis in net.prunable:
        levels = tuple(sorted({1, axis.size}))
        for moved in net.prunable:
            if moved is axis:
                continue
            width = max(1, moved.size // 2)
            before = cost.line((axis.name,), levels, counts)
            after = cost.line((axis.name,), levels, {**counts, moved.name: width})
            shift = cost.shift((axis.name,), levels, counts, moved=(moved.name,), width=width)
            assert shift is not None
            np.testing.assert_allclose(np.diff(before + shift), np.diff(after), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("quantity", ["macs", "params", "steps", "scaled", "plain", "memory"])
def test_lines_of_axes_that_are_no_neighbours_do_not_depend_on_one_another(name: str, quantity: str) -> None:
    net = networks.zoo(name)
    cost = all_costs(net)[quantity]
    for axis in net.prunable:
        near, levels = cost.neighbours(axis.name), (1, axis.size)
        here = cost.line((axis.name,), levels, {})
        far = {other.name: 1 for other in net.prunable if other.name not in near and other is not axis}
        there = cost.line((axis.name,), levels, far)
        np.testing.assert_allclose(np.diff(here), np.diff(there), rtol=1e-12)


def test_sum_asks_each_term_for_its_own_axes_only_and_never_twice() -> None:
    asked: list[dict[str, int]] = []

    def value(counts: Mapping[str, int]) -> float:
        asked.append(dict(counts))
        return counts.get("a", 8) * counts.get("b", 8)

    cost = Summed([Term(frozenset({"a", "b"}), value), Term(frozenset(), lambda counts: 5.0)], constant=2.0)
    assert cost.total({"a": 2, "c": 3}) == 2 * 8 + 7
    assert cost.total({"a": 2, "c": 4}) == 2 * 8 + 7
    assert asked == [{"a": 2}]
    cost.line(("a",), (1, 2), {"b": 3})
    cost.line(("b",), (3, 4), {"a": 2})
    assert asked[1:] == [{"b": 3, "a": 1}, {"b": 3, "a": 2}, {"a": 2, "b": 4}]


def test_plain_cost_says_that_nothing_is_known_of_a_shift() -> None:
    cost = Plain(lambda counts: float(sum(counts.values())), axes=["a", "b"])
    assert cost.shift(("a",), (1, 2), {}, moved=("b",), width=1) is None
    assert cost.neighbours("a") == {"a", "b"}
