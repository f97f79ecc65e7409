"""Several criteria together, and functions of a user's own."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor

import penjing as pj
from penjing import criteria
from penjing.criteria import (
    Combined,
    Curvature,
    Custom,
    Lamp,
    Magnitude,
    Movement,
    Obd,
    Random,
    Statistics,
    Taylor,
)
from penjing.errors import PenjingError
from tests.criteria import networks


def ranks(scores: dict[str, Tensor]) -> np.ndarray:
    flat = np.concatenate([one.numpy() for one in scores.values()])
    return np.asarray(rankdata(flat) / len(flat))


def test_combined_is_the_weighted_sum_of_ranks_over_the_whole_network() -> None:
    net = networks.residual()
    both = Combined((("taylor", 0.7), (Magnitude(1), 0.3)))
    statistics = criteria.collect(
        net, both.record.needs, data=networks.images(2), loss=networks.cross_entropy
    )
    parts = [criteria.score(net, one, statistics) for one in (Taylor(), Magnitude(1))]
    found = criteria.score(net, both, statistics)
    assert list(found) == list(parts[0])
    expected = 0.7 * ranks(parts[0]) + 0.3 * ranks(parts[1])
    np.testing.assert_allclose(np.concatenate([one.numpy() for one in found.values()]), expected, rtol=1e-12)


def test_combined_of_one_keeps_its_order() -> None:
    net = networks.residual()
    alone, found = criteria.score(net, Lamp()), criteria.score(net, Combined((("lamp", 2.0),)))
    for axis, scores in alone.items():
        assert found[axis].argsort().tolist() == scores.argsort().tolist()


def test_combined_hands_the_aggregation_to_its_parts() -> None:
    net = networks.residual()
    found = criteria.score(net, Combined((("magnitude", 1.0),)), aggregate="max")
    alone = criteria.score(net, Magnitude(), aggregate="max")
    np.testing.assert_allclose(np.concatenate([one.numpy() for one in found.values()]), ranks(alone))


def test_combined_has_the_record_of_all_its_parts() -> None:
    record = Combined((("taylor", 0.7), (Obd(probes=3), 0.2), ("obs", 0.1), (Random(), 1))).record
    assert record.needs == {"gradients", Curvature(3), "grams"}
    assert record.summary == "0.7 * rank(taylor) + 0.2 * rank(obd) + 0.1 * rank(obs) + 1 * rank(random)"
    assert "1906.10771" in record.source
    assert record.cost == "one backward a batch and 4 backwards a batch and nothing"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((), "PJ306"),
        ((("taylor", 0.0),), "PJ306"),
        ((("taylor", -1.0),), "PJ306"),
        ((("taylor", math.nan),), "PJ306"),
        ((("tailor", 1.0),), "PJ301"),
    ],
)
def test_combined_refuses_parts_that_make_no_sense(parts: Any, code: str) -> None:
    with pytest.raises(PenjingError) as caught:
        Combined(parts)
    assert caught.value.code == code


def test_combined_without_statistics_says_what_is_missing() -> None:
    with pytest.raises(PenjingError) as caught:
        criteria.score(networks.residual(), Combined((("taylor", 1.0), ("fisher", 1.0))))
    assert caught.value.code == "PJ302"
    assert "gradients, squared_gradients" in caught.value.what


def test_custom_is_what_its_function_says() -> None:
    net = networks.residual()
    mine = Custom(
        lambda name, weight, statistics: weight.abs() * statistics.gradients[name] / statistics.batches,
        needs=["gradients"], name="mine", normalise="none",
    )  # fmt: skip
    assert (mine.record.name, mine.record.needs) == ("mine", {"gradients"})
    statistics = criteria.collect(
        net, mine.record.needs, data=networks.images(2), loss=networks.cross_entropy
    )
    found, taylor = (criteria.score(net, one, statistics) for one in (mine, Taylor()))
    for axis, scores in taylor.items():
        assert found[axis].tolist() == pytest.approx(scores.tolist(), rel=1e-6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.name = "yours"  # type: ignore[misc]


@pytest.mark.parametrize(
    "function",
    [
        lambda name, weight, statistics: weight.sum(),
        lambda name, weight, statistics: float(weight.sum()),
        lambda name, weight, statistics: None,
        lambda name, weight, statistics: weight + 1j,
    ],
)
def test_custom_refuses_a_function_that_gives_no_figure_for_each_weight(function: Any) -> None:
    with pytest.raises(PenjingError) as caught:
        criteria.score(networks.residual(), Custom(function, name="odd"))
    assert caught.value.code == "PJ325"
    assert caught.value.what.startswith("`odd` gives no figure for each weight of `stem.weight`")


def test_custom_may_use_whole_numbers_and_truth_values() -> None:
    found = Custom(lambda name, weight, statistics: weight > 0).worth(
        "", torch.tensor([1.0, -1.0]), Statistics()
    )
    assert found.tolist() == [True, False]
    scores = criteria.score(networks.residual(), Custom(lambda name, weight, statistics: weight > 0))
    assert all(bool(one.isfinite().all()) for one in scores.values())


@pytest.mark.parametrize(
    "criterion",
    ["bn_scale", "movement", "obd", Combined((("snip", 0.5), (Movement(), 0.5)))],
    ids=lambda one: one if isinstance(one, str) else "combined",
)
def test_prune_takes_any_criterion(criterion: Any) -> None:
    torch.manual_seed(0)
    small = pj.prune(
        networks.Residual(), torch.randn(2, 1, 4, 4), budget="macs=0.6x", device="macs", criterion=criterion,
        data=networks.images(2), loss=networks.cross_entropy, recover=(),
    )  # fmt: skip
    assert small.report.budget[0].met
    assert small.report.axes
