from __future__ import annotations

from typing import Any

import pytest
import torch

from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan.choices import Choice, Steps, Wishes, choices, chosen, rounded
from tests.plan import networks


def made(net: Network | None = None, steps: Steps = 1, **wishes: Any) -> dict[str, Choice]:
    net = net or networks.perceptron()
    found = choices(net, networks.magnitudes(net), steps, Wishes(**wishes))
    return {name: choice for choice in found for name in choice.axes}


def refused(net: Network | None = None, **wishes: Any) -> PenjingError:
    with pytest.raises(PenjingError) as caught:
        made(net, **wishes)
    return caught.value


def test_levels_run_from_the_floor_to_the_whole() -> None:
    found = made(floor=0.3)
    assert found["first"].levels == tuple(range(6, 21))
    assert found["second"].levels == tuple(range(3, 11))


@pytest.mark.parametrize(
    ("step", "first", "second"),
    [
        (4, (2, 4, 8, 12, 16, 20), (1, 2, 4, 8, 10)),
        (8, (2, 4, 8, 16, 20), (1, 2, 4, 8, 10)),
        (16, (2, 4, 8, 16, 20), (1, 2, 4, 8, 10)),
        (32, (2, 4, 8, 16, 20), (1, 2, 4, 8, 10)),
    ],
)
def test_levels_are_multiples_of_the_step_and_halves_below_it(
    step: int, first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    found = made(steps=step, floor=0.1)
    assert found["first"].levels == first
    assert found["second"].levels == second


def test_levels_take_the_step_of_their_axis() -> None:
    found = made(steps={"first": 5, "second": 3}.__getitem__, floor=0.2)
    assert found["first"].levels == (5, 10, 15, 20)
    assert found["second"].levels == (3, 6, 9, 10)


def test_levels_end_at_the_share_that_may_stay_at_most() -> None:
    found = made(share=0.5, floor=0.3)
    assert found["first"].levels == tuple(range(6, 11))
    assert found["second"].levels == (3, 4, 5)


def test_an_axis_keeps_a_unit_whatever_the_floor() -> None:
    assert made(floor=0.0)["first"].levels[0] == 1


def test_worth_of_a_level_is_that_of_its_most_valuable_units() -> None:
    net = networks.perceptron()
    scores = {"first": torch.arange(20).double(), "second": torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3])}
    found = {
        c.axes[0]: c for c in choices(net, {n: s.double() for n, s in scores.items()}, 1, Wishes(floor=0.0))
    }
    assert found["first"].worth.tolist() == [sum(range(20 - n, 20)) for n in range(1, 21)]
    assert found["second"].worth.tolist() == [9, 15, 20, 25, 29, 32, 35, 37, 38, 39]


def test_chosen_units_are_the_best_and_of_equal_ones_the_first() -> None:
    scores = torch.tensor([2.0, 7.0, 2.0, 1.0, 7.0, 2.0]).double()
    assert chosen(scores, 1) == (1,)
    assert chosen(scores, 3) == (0, 1, 4)
    assert chosen(scores, 4) == (0, 1, 2, 4)
    assert chosen(torch.zeros(1000).double(), 3) == (0, 1, 2)


@pytest.mark.parametrize(("share", "size", "count"), [(0.5, 5, 3), (0.25, 5, 1), (0.01, 5, 1), (1.0, 5, 5)])
def test_rounded_takes_the_nearest_number_and_at_least_one(share: float, size: int, count: int) -> None:
    assert rounded(share, size) == count


def test_keep_leaves_an_axis_whole_and_says_so() -> None:
    found = made(keep=["fir*"])
    assert found["first"].levels == (20,)
    assert found["first"].stuck == "kept whole: keep=fir*"
    assert len(found["second"].levels) > 1
    assert found["second"].stuck == ""


def test_only_leaves_all_others_whole() -> None:
    found = made(only=["second"])
    assert found["first"].levels == (20,)
    assert "only=second" in found["first"].stuck
    assert len(found["second"].levels) > 1


@pytest.mark.parametrize(("exact", "count"), [(7, 7), (1, 1), (0.25, 5), (1.0, 20), (0.001, 1)])
def test_exact_numbers_know_no_step_and_no_floor(exact: float, count: int) -> None:
    found = made(steps=8, floor=0.5, exact={"first": exact})
    assert found["first"].levels == (count,)
    assert found["second"].levels == (8, 10)


@pytest.mark.parametrize("exact", [0, 21, -1, 0.0, 1.5, -0.5, True, float("nan")])
def test_exact_numbers_that_cannot_be_are_refused(exact: float) -> None:
    error = refused(exact={"first": exact})
    assert error.code == "PJ506"
    assert "`first`" in error.what


def test_exact_number_of_a_frozen_axis_is_refused_with_its_reason() -> None:
    net = networks.perceptron()
    frozen = next(axis for axis in net.axes if axis.frozen is not None)
    error = refused(exact={frozen.name: 1})
    assert error.code == "PJ506"
    assert frozen.frozen is not None
    assert frozen.frozen in error.because


def test_exact_number_of_an_unknown_axis_names_the_nearest() -> None:
    error = refused(exact={"frist": 3})
    assert error.code == "PJ201"
    assert "`first`" in error.tries


@pytest.mark.parametrize("option", ["keep", "only"])
def test_pattern_that_matches_nothing_names_the_nearest(option: str) -> None:
    error = refused(networks.zoo("resnet_bottleneck"), **{option: ["conv1", "layer1.0.convv1"]})
    assert error.code == "PJ505"
    assert error.what == f"no axis matches {option}=layer1.0.convv1"
    assert error.tries[0] == f"{option}=layer1.0.conv1"
    assert len(error.tries) == 3


def test_pattern_of_a_layer_that_shares_its_axis_is_told_the_name_of_that() -> None:
    # The last convolution of a bottleneck writes to the stream, which is called after who made it first.
    error = refused(networks.zoo("resnet_bottleneck"), keep=["layer1.0.conv3"])
    assert error.code == "PJ505"
    assert "`layer1.0.downsample.0`" in error.because


def test_keep_and_exact_of_one_axis_are_refused() -> None:
    error = refused(keep=["first"], exact={"first": 3})
    assert error.code == "PJ508"
    assert "keep=first" in error.because


def balanced() -> tuple[Network, tuple[str, ...]]:
    net = networks.zoo("shufflenet_v2")
    return net, net.balanced[0]


def test_axes_that_must_be_equally_long_are_one_choice() -> None:
    net, names = balanced()
    found = made(net)
    assert {found[name].axes for name in names} == {found[names[0]].axes}
    assert set(found[names[0]].axes) >= set(names)


def test_keeping_one_of_equally_long_axes_keeps_all() -> None:
    net, names = balanced()
    found = made(net, keep=[names[0]])
    assert {len(found[name].levels) for name in names} == {1}


def test_exact_number_of_one_of_equally_long_axes_holds_for_all() -> None:
    net, names = balanced()
    found = made(net, exact={names[0]: 2})
    assert {found[name].levels for name in names} == {(2,)}


def test_different_exact_numbers_for_equally_long_axes_are_refused() -> None:
    net, names = balanced()
    error = refused(net, exact={names[0]: 2, names[1]: 1})
    assert error.code == "PJ508"
    assert "1 and 2" in error.what


def test_large_axes_are_stepped_through_more_coarsely() -> None:
    net = networks.perceptron()
    found = choices(net, networks.magnitudes(net), 1, Wishes(floor=0.0), most=4)
    assert found[0].levels == (1, 2, 4, 8, 16, 20)


def test_choices_within_what_is_left_never_bring_a_unit_back() -> None:
    left = {"first": tuple(range(1, 20, 2)), "second": (0, 3, 4)}
    found = made(within=left)
    assert found["first"].levels[-1] == 10
    assert found["second"].levels == (1, 2, 3)
    scores = networks.magnitudes(networks.perceptron())
    assert found["second"].whole == pytest.approx(float(scores["second"][[0, 3, 4]].sum()))
    assert chosen(torch.tensor([9.0, 1, 8, 7, 1]), 2, (1, 3, 4)) == (1, 3)
    assert made(within=left, exact={"first": 12})["first"].levels == (10,)
    assert [choice.levels[-1] for choice in made(within=left, share=0.5).values()] == [10, 3]
    assert made(within=left, keep=["first"])["first"].levels == (10,)
