from __future__ import annotations

import importlib
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from penjing import plan
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan import Allocation, Allocator, Cost, Plan, allocate, uniform
from tests.plan import networks


def costs(net: Network) -> dict[str, Cost]:
    return {"macs": plan.macs(net), "params": plan.parameters(net)}


def allocated(net: Network, share: float, quantity: str = "macs", **options: Any) -> Allocation:
    known = costs(net)
    limits = {quantity: share * known[quantity].total({})}
    return allocate(net, networks.randoms(net), limits, known, **options)


def kept_worth(scores: dict[str, Tensor], kept: Plan) -> float:
    """The share of all worth that a plan keeps, unit by unit."""
    whole = sum(float(values.sum()) for values in scores.values())
    lost = sum(
        float(value)
        for name, units in kept.kept.items()
        for unit, value in enumerate(scores[name].tolist())
        if unit not in units
    )
    return 1 - lost / whole


NETWORKS = ["resnet_bottleneck", "shufflenet_v2", "mini_llama", "vit", "lstm_classifier"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("quantity", ["macs", "params"])
def test_allocation_is_within_its_limit_and_close_to_it(name: str, quantity: str) -> None:
    net = networks.zoo(name)
    found = allocated(net, 0.5, quantity)
    counts = found.plan.counts()
    real = {"macs": net.macs_at(counts), "params": net.parameters_at(counts)}
    assert found.costs == real
    assert 0.93 * found.limits[quantity] <= real[quantity] <= found.limits[quantity]


@pytest.mark.parametrize("name", NETWORKS)
def test_allocation_keeps_the_best_units_of_each_axis(name: str) -> None:
    net = networks.zoo(name)
    scores = networks.randoms(net)
    found = allocated(net, 0.4)
    for axis, units in found.plan.kept.items():
        gone = set(range(net.axis(axis).size)) - set(units)
        assert min(scores[axis][list(units)].tolist()) > max(scores[axis][list(gone)].tolist())
        assert found.plan.sizes[axis] == net.axis(axis).size
    assert found.worth == pytest.approx(kept_worth(scores, found.plan), rel=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_allocation_is_worth_more_than_cutting_all_axes_alike(name: str) -> None:
    net = networks.zoo(name)
    scores = networks.randoms(net)
    alike = uniform(net, scores, 0.5, costs=costs(net))
    found = allocate(net, scores, {"macs": alike.costs["macs"]}, costs(net))
    assert found.worth > alike.worth


def test_allocation_is_the_same_again() -> None:
    net = networks.zoo("resnet_bottleneck")
    assert allocated(net, 0.3) == allocated(net, 0.3)


def test_allocation_changes_nothing_when_the_budget_is_met_already() -> None:
    net = networks.zoo("vit")
    assert allocated(net, 1.0).plan == Plan()
    assert allocated(net, 7.0).plan == Plan()
    assert allocated(net, 1.0).worth == 1.0


def test_allocation_of_no_limit_does_what_was_asked_for_by_hand_only() -> None:
    net = networks.perceptron()
    found = allocate(net, networks.randoms(net), {}, costs(net), exact={"first": 0.25})
    assert found.plan.counts() == {"first": 5}
    assert found.costs["macs"] == 5 * 6 + 5 * 10 + 10 * 3


def test_allocation_counts_what_was_asked_for_by_hand_into_the_budget() -> None:
    net = networks.zoo("resnet_bottleneck")
    found = allocated(net, 0.5, exact={"layer1.0.conv1": 0.25})
    assert found.plan.counts()["layer1.0.conv1"] == 4
    assert 0.95 * found.limits["macs"] <= found.costs["macs"] <= found.limits["macs"]


def test_allocation_leaves_kept_axes_whole_and_cuts_only_those_it_may() -> None:
    net = networks.zoo("resnet_bottleneck")
    assert not any(name.startswith("layer2") for name in allocated(net, 0.6, keep=["layer2*"]).plan.kept)
    assert all(name.startswith("layer3") for name in allocated(net, 0.8, only=["layer3*"]).plan.kept)


def test_allocation_keeps_a_floor_of_every_axis() -> None:
    net = networks.zoo("resnet_bottleneck")
    found = allocated(net, 0.35, floor=0.5)
    counts = found.plan.counts()
    assert counts
    assert all(2 * count >= net.axis(name).size for name, count in counts.items())


def test_allocation_keeps_equal_numbers_where_the_model_asks_for_them() -> None:
    net = networks.zoo("shufflenet_v2")
    counts = allocated(net, 0.3).plan.counts()
    assert any(name in counts for names in net.balanced for name in names)
    for names in net.balanced:
        assert len({counts.get(name, net.axis(name).size) for name in names}) == 1


def test_allocation_takes_multiples_of_the_step_where_there_are_enough() -> None:
    net = networks.zoo("resnet_bottleneck")
    steps = {axis.name: 8 if axis.size > 16 else 4 for axis in net.prunable}
    counts = allocated(net, 0.5, steps=steps.__getitem__).plan.counts()
    assert all(count % 4 == 0 or count in (1, 2) for count in counts.values())
    assert any(count % 8 == 0 for count in counts.values())


def test_allocation_takes_finer_steps_when_budgets_would_be_left_unused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = networks.zoo("vgg")  # six axes of 12 to 64 units: there are few multiples of 16
    scores, shares = networks.randoms(net), (0.9, 0.8, 0.65, 0.5, 0.35, 0.2)

    def at_every_share() -> list[Allocation]:
        planner = Allocator(net, scores, costs(net), steps=16)
        return [planner.allocate({"macs": share * net.macs}) for share in shares]

    fine = at_every_share()
    monkeypatch.setattr(importlib.import_module("penjing.plan.allocate"), "WASTEFUL", 1.0)
    coarse = at_every_share()
    assert any(a.costs["macs"] < 0.95 * a.limits["macs"] for a in coarse)
    assert all(a.worth >= b.worth for a, b in zip(fine, coarse, strict=True))
    assert sum(a.worth for a in fine) > sum(b.worth for b in coarse) + 0.01
    widths = {count for a in fine for count in a.plan.counts().values() if count > 4}
    assert any(width % 16 for width in widths)
    assert all(width % 4 == 0 for width in widths)


def test_allocation_has_more_widths_to_choose_from_in_parts_of_steps() -> None:
    net = networks.zoo("vgg")
    scores, limits = networks.randoms(net), {"macs": 0.35 * net.macs}
    whole, parted = (Allocator(net, scores, costs(net), steps=16, parts=parts) for parts in (1, 4))
    before, after = whole.allocate(limits), parted.allocate(limits)
    assert after.worth >= before.worth
    assert any(count % 8 for count in after.plan.counts().values())
    assert all(count % 4 == 0 or count < 4 for count in after.plan.counts().values())


def test_allocation_holds_several_limits_at_once() -> None:
    net = networks.zoo("vit")
    for macs, params in [(0.5, 0.5), (0.9, 0.2), (0.3, 0.8)]:
        limits = {"macs": macs * net.macs, "params": params * net.parameters}
        found = allocate(net, networks.randoms(net), limits, costs(net))
        shares = {quantity: found.costs[quantity] / limit for quantity, limit in limits.items()}
        assert max(shares.values()) <= 1
        assert max(shares.values()) > 0.95


def test_allocation_under_two_limits_is_worth_no_more_than_under_either() -> None:
    net = networks.zoo("vit")
    scores = networks.randoms(net)
    limits = {"macs": 0.5 * net.macs, "params": 0.4 * net.parameters}
    both = allocate(net, scores, limits, costs(net)).worth
    alone = [allocate(net, scores, {q: limit}, costs(net)).worth for q, limit in limits.items()]
    assert both <= min(alone) + 1e-3


def test_allocation_works_with_a_cost_of_which_nothing_is_known() -> None:
    net = networks.perceptron()
    opaque = plan.Plain(lambda counts: float(net.macs_at(counts)), axes=["first", "second"])
    scores = networks.randoms(net)
    found = allocate(net, scores, {"macs": 0.5 * net.macs}, {"macs": opaque})
    assert found.plan == allocate(net, scores, {"macs": 0.5 * net.macs}, costs(net)).plan


def test_allocation_finds_the_cheaper_wider_layer_of_a_cost_that_is_no_staircase_down() -> None:
    # A width of 15 or less falls onto a slow path: the smallest network is not the cheapest.
    net = networks.perceptron()

    def slow_below_16(counts: Any) -> float:
        first = counts.get("first", 20)
        return first + (100 if first < 16 else 0) + counts.get("second", 10)

    cost = plan.Plain(slow_below_16, axes=["first", "second"])
    found = allocate(net, networks.randoms(net), {"ms": 18}, {"ms": cost})
    assert found.plan.counts() == {"first": 16, "second": 2} or found.plan.counts() == {
        "first": 17,
        "second": 1,
    }


@pytest.mark.parametrize("share", [1.0, 0.5, 0.26, 0.01])
def test_uniform_keeps_that_share_of_every_axis(share: float) -> None:
    net = networks.zoo("resnet_bottleneck")
    counts = uniform(net, networks.randoms(net), share).plan.counts()
    for axis in net.prunable:
        assert counts.get(axis.name, axis.size) == max(1, int(share * axis.size + 0.5))


def test_uniform_keeps_the_units_of_the_highest_scores() -> None:
    net = networks.perceptron()
    scores = {"first": torch.arange(20).double(), "second": -torch.arange(10).double()}
    found = uniform(net, scores, 0.5)
    assert found.plan.kept == {"first": tuple(range(10, 20)), "second": (0, 1, 2, 3, 4)}


def test_uniform_cuts_nothing_when_more_is_allowed_than_there_is() -> None:
    net = networks.perceptron()
    assert uniform(net, networks.randoms(net), 1.5).plan == Plan()


def impossible(share: float, **options: Any) -> PenjingError:
    with pytest.raises(PenjingError) as caught:
        allocated(networks.perceptron(), share, **options)
    return caught.value


def test_impossible_budget_names_the_smallest_reachable() -> None:
    # floors: 2 of 20 and 1 of 10 -> 2*6 + 2*1 + 1*3 = 17 of 350
    error = impossible(16.9 / 350, floor=0.1)
    assert error.code == "PJ503"
    assert "16.9 cannot be met" in error.what
    assert "smallest reachable is 17, 0.0486x" in error.what
    assert error.tries[0] == "`macs=17`"
    assert allocated(networks.perceptron(), 17 / 350).costs["macs"] == 17


def test_floor_yields_where_a_budget_cannot_be_met_otherwise() -> None:
    # at the floor 2*6 + 2*1 + 1*3 = 17 of 350; one unit of each axis: 6 + 1 + 3 = 10
    assert allocated(networks.perceptron(), 17 / 350).plan.counts() == {"first": 2, "second": 1}
    assert allocated(networks.perceptron(), 16.9 / 350).plan.counts()["first"] == 1
    assert allocated(networks.perceptron(), 10 / 350).plan.counts() == {"first": 1, "second": 1}
    error = impossible(9.9 / 350)
    assert error.because == "what is left depends on no axis that may be cut"
    assert error.tries == ("`macs=10`",)


@pytest.mark.parametrize("name", ["resnet_bottleneck", "mini_llama"])
def test_floor_yields_no_more_than_it_has_to(name: str) -> None:
    net = networks.zoo(name)
    known = costs(net)
    least = {axis.name: max(1, -(-axis.size // 10)) for axis in net.prunable}
    limit = 0.9 * net.macs_at(least)
    scores = networks.randoms(net)
    with pytest.raises(PenjingError, match="PJ503"):
        allocate(net, scores, {"macs": limit}, known, floor=0.1)
    found = allocate(net, scores, {"macs": limit}, known)
    assert found.costs["macs"] <= limit
    for axis in net.prunable:
        assert found.plan.counts().get(axis.name, axis.size) >= max(1, 0.05 * axis.size - 1e-6)


def test_impossible_budget_names_the_axis_that_binds_and_why() -> None:
    at_floor = impossible(0.01, floor=0.1)
    assert at_floor.because == "`first` binds: it keeps 2 of 20 units, its floor (a share of 0.1)"
    assert at_floor.tries[1] == 'below the floor, by hand: exact={"first": 1}'
    assert allocated(networks.perceptron(), 0.04, exact={"first": 1}).plan.counts()["first"] == 1
    kept = impossible(0.3, keep=["first"])
    assert kept.because == "`first` binds: it keeps 20 of 20 units, kept whole: keep=first"
    left_out = impossible(0.3, only=["second"])
    assert "not among only=second" in left_out.because
    by_hand = impossible(0.3, exact={"first": 18})
    assert by_hand.because == "`first` binds: it keeps 18 of 20 units, its number of units is given by hand"


def test_impossible_budget_says_so_when_no_axis_is_left_to_cut() -> None:
    net = networks.perceptron()
    constant = plan.Plain(lambda counts: 5.0, axes=["first", "second"])
    with pytest.raises(PenjingError) as caught:
        allocate(net, networks.randoms(net), {"ms": 4.0}, {"ms": constant})
    assert caught.value.because == "what is left depends on no axis that may be cut"


def test_impossible_budget_names_the_limit_that_cannot_be_met() -> None:
    net = networks.perceptron()
    limits = {"macs": 0.5 * net.macs, "params": 1.0}
    with pytest.raises(PenjingError) as caught:
        allocate(net, networks.randoms(net), limits, costs(net))
    assert caught.value.what.startswith("params 1 cannot be met")


def test_budget_of_what_no_cost_tells_is_refused() -> None:
    net = networks.perceptron()
    with pytest.raises(PenjingError) as caught:
        allocate(net, networks.randoms(net), {"latency": 1.0}, costs(net))
    assert caught.value.code == "PJ507"


def test_allocator_answers_in_any_order_alike() -> None:
    net = networks.zoo("vit")
    scores, shares = networks.randoms(net), (0.3, 0.8, 0.5, 0.9, 0.4)
    fresh = {share: allocated(net, share) for share in shares}
    for order in itertools.islice(itertools.permutations(shares), 0, 120, 40):
        allocator = Allocator(net, scores, costs(net))
        for share in order:
            assert allocator.allocate({"macs": share * net.macs}) == fresh[share]


DEEP = ["resnet_bottleneck", "vit", "mini_llama"]


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("share", [0.6, 0.3, 0.1])
def test_depth_is_within_its_limit_and_never_keeps_less(name: str, share: float) -> None:
    net = networks.zoo(name)
    deep, flat = allocated(net, share, depth=True), allocated(net, share)
    counts = plan.counts_of(net, deep.plan)
    assert deep.costs == {"macs": net.macs_at(counts), "params": net.parameters_at(counts)}
    assert deep.costs["macs"] <= deep.limits["macs"]
    assert deep.worth >= flat.worth - 1e-9
    assert not flat.plan.dropped


def test_depth_drops_a_branch_that_is_worth_nothing_and_keeps_the_rest_whole() -> None:
    net = networks.zoo("vit")
    scores = {axis.name: torch.ones(axis.size, dtype=torch.float64) for axis in net.prunable}
    axis, switch = next(iter(net.switches.items()))
    scores[axis] *= 1e-9
    known = costs(net)
    limit = net.macs_at({axis: 0})
    found = allocate(net, scores, {"macs": limit}, known, depth=True)
    assert found.plan == Plan(dropped=(switch.branch.name,))
    assert found.costs["macs"] == limit


def test_depth_reaches_budgets_that_widths_alone_cannot() -> None:
    net = networks.zoo("vit")
    with pytest.raises(PenjingError, match="PJ503"):
        allocated(net, 0.15, floor=0.5)
    assert allocated(net, 0.15, floor=0.5, depth=True).plan.dropped


def test_depth_leaves_branches_whose_axes_are_asked_to_be_kept() -> None:
    net = networks.zoo("vit")
    axis, switch = next(iter(net.switches.items()))
    for wanted in switch.inner:
        found = allocated(net, 0.3, depth=True, keep=[wanted])
        assert switch.branch.name not in found.plan.dropped
        assert wanted not in found.plan.kept
    found = allocated(net, 0.3, depth=True, exact={axis: 1})
    assert switch.branch.name not in found.plan.dropped
    assert len(found.plan.kept[axis]) == 1


def test_depth_keeps_branches_gone_that_are_gone() -> None:
    net = networks.zoo("vit")
    switch = next(iter(net.switches.values()))
    scores = networks.randoms(net)
    gone = (switch.branch.name,)
    for share in (0.9, 0.4):
        known = costs(net)
        allocator = Allocator(net, scores, known, depth=True, gone=gone)
        found = allocator.allocate({"macs": share * known["macs"].total({})})
        assert set(gone) <= set(found.plan.dropped)
        assert switch.inner.isdisjoint(found.plan.kept)


def test_depth_and_a_share_of_every_axis_contradict_each_other() -> None:
    net = networks.zoo("vit")
    with pytest.raises(PenjingError, match="PJ508"):
        Allocator(net, networks.randoms(net), costs(net), share=0.5, depth=True)
