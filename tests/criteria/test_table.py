from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from penjing import criteria
from penjing.criteria import (
    CRITERIA,
    Activity,
    Apoz,
    BnScale,
    Correlation,
    Entropy,
    Fisher,
    GeometricMedian,
    Gradient,
    HRank,
    Information,
    Lamp,
    Magnitude,
    Movement,
    Need,
    Obd,
    Obs,
    Random,
    Snip,
    Taylor,
    TaylorSquared,
)
from penjing.criteria.random import random
from penjing.errors import PenjingError
from tests.criteria import networks

#: Every entry of the table has a case here: options that it takes, options that it refuses.
CASES = {
    "magnitude": ([Magnitude(), Magnitude(1), Magnitude(p=3)], [{"p": 0}, {"p": -1}, {"p": float("nan")}]),
    "lamp": ([Lamp()], []),
    "bn_scale": ([BnScale()], []),
    "geometric_median": ([GeometricMedian()], []),
    "gradient": ([Gradient()], []),
    "taylor": ([Taylor()], []),
    "taylor_squared": ([TaylorSquared()], []),
    "snip": ([Snip()], []),
    "movement": ([Movement()], []),
    "fisher": ([Fisher()], []),
    "obd": ([Obd(), Obd(probes=32), Obd(seed=3)], [{"probes": 0}, {"probes": -1}]),
    "obs": ([Obs()], []),
    "activity": (
        [Activity(), Activity(of="max"), Activity(threshold=1e-9)],
        [{"of": "median"}, {"threshold": -1.0}, {"threshold": float("nan")}],
    ),
    "apoz": ([Apoz()], []),
    "entropy": ([Entropy(), Entropy(keep="low"), Entropy(bins=4)], [{"keep": "some"}, {"bins": 1}]),
    "information": ([Information(), Information(bins=4)], [{"bins": 1}]),
    "hrank": ([HRank()], []),
    "correlation": ([Correlation()], []),
    "random": ([Random(), Random(seed=7), Random(seed=-1)], []),
}


COUNTED = {"apoz", "entropy", "information", "hrank"}
"""Made of whole numbers: units may be worth the same."""


def test_table_has_a_case_for_every_criterion() -> None:
    assert set(CASES) == set(CRITERIA)


@pytest.mark.parametrize("name", CRITERIA)
def test_criterion_is_a_frozen_record_that_knows_its_name_needs_and_source(name: str) -> None:
    criterion = criteria.get(name)
    assert criterion == CASES[name][0][0]
    assert dataclasses.is_dataclass(criterion)
    assert criterion.record.name == name
    assert "arXiv" in criterion.record.source
    assert criterion.record.scores in ("weights", "units")
    assert (criterion.record.cost in ("weights alone", "nothing")) == (not criterion.record.needs)
    assert criterion.record.cost
    with pytest.raises(dataclasses.FrozenInstanceError):
        criterion.anything = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CRITERIA)
def test_criterion_gives_finite_different_scores_for_every_case(name: str) -> None:
    net = networks.residual()
    if name == "bn_scale":  # of ones, untrained
        nn.init.uniform_(net.model.get_parameter("norm.weight"))
    needs = frozenset[Need]().union(*(criterion.record.needs for criterion in CASES[name][0]))
    statistics = criteria.collect(net, needs, data=networks.images(2), loss=networks.cross_entropy)
    for criterion in CASES[name][0]:
        scores = criteria.score(net, criterion, statistics)
        again = criteria.score(net, criterion, statistics)
        for axis in net.prunable:
            assert bool(scores[axis.name].isfinite().all())
            kinds = len(scores[axis.name].unique())
            assert kinds > 1 if name in COUNTED else kinds == axis.size
            assert torch.equal(scores[axis.name], again[axis.name])


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, case in CASES.items() for o in case[1]])
def test_criterion_refuses_options_that_make_no_sense(name: str, options: dict[str, float]) -> None:
    with pytest.raises(PenjingError) as caught:
        CRITERIA[name](**options)
    assert caught.value.code == "PJ306"


def test_get_names_the_three_nearest_of_an_unknown_criterion() -> None:
    with pytest.raises(PenjingError) as caught:
        criteria.get("tailor")
    assert caught.value.code == "PJ301"
    assert len(caught.value.tries) == 3
    assert caught.value.tries[:2] == ("`taylor`", "`taylor_squared`")


def test_get_hands_back_a_criterion_that_is_one() -> None:
    mine = Magnitude(p=1)
    assert criteria.get(mine) is mine


def test_random_depends_on_seed_and_name_but_not_on_order() -> None:
    net = networks.residual()
    one, two = criteria.score(net, Random(0)), criteria.score(net, Random(1))
    names = list(one)
    assert not torch.equal(one[names[0]], two[names[0]])
    assert not torch.equal(one[names[0]][:6], one[names[1]][:6])
    alone = Random(0).worth(net.axis(names[1]), criteria.Statistics())
    assert torch.equal(alone, one[names[1]])


def test_random_is_uniform() -> None:
    values = random(20_000, name="a", seed=3)
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean().item() == pytest.approx(0.5, abs=0.01)
    assert values.var().item() == pytest.approx(1 / 12, abs=0.003)
