"""Criteria side by side, and axes one by one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.api.comparison import Comparison, _allowed
from penjing.api.curves import Curve, Sensitivity
from penjing.criteria import CRITERIA, Magnitude, Record, Statistics, WeightCriterion
from penjing.errors import PenjingError
from penjing.plan import Plan
from penjing.surgery import cut
from tests.api.models import accuracy, loss, patterns, trained


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained()


def x() -> Tensor:
    return patterns()[0][0][:1]


@pytest.mark.slow
def test_every_criterion_that_the_data_allow_is_tried_under_one_budget(
    model: nn.Module, tmp_path: Path
) -> None:
    told: list[str] = []
    found = pj.compare_criteria(
        model,
        x(),
        budget="macs=0.6x",
        data=patterns(2),
        loss=loss,
        evaluate=accuracy,
        told=lambda row: told.append(row.criterion),
    )
    assert {row.criterion for row in found.contenders} == set(CRITERIA) == set(told)
    assert not found.skipped
    assert not [row.error for row in found.contenders if row.error]
    for row in found.contenders:
        assert len(row.metrics) == (3 if row.criterion in ("random", "obd") else 1)  # others draw nothing
        assert all(used <= 1 for used in row.achieved)
    means = [row.mean for row in found.contenders if row.mean is not None]
    assert means == sorted(means, reverse=True)
    assert found.before == accuracy(model)
    assert Comparison.model_validate_json(found.save(tmp_path / "a.json").read_text()) == found


def test_metric_is_that_of_prune_and_the_spread_that_of_its_seeds(model: nn.Module) -> None:
    given = {"budget": "macs=0.4x", "evaluate": accuracy, "device": "macs"}
    found = pj.compare_criteria(model, x(), criteria=["random"], seeds=(3, 5), **given)  # type: ignore[arg-type]
    alone = [
        pj.prune(model, x(), criterion="random", seed=seed, **given).report.after.metric  # type: ignore[arg-type]
        for seed in (3, 5)
    ]
    (row,) = found.contenders
    assert list(row.metrics) == alone
    assert row.spread == pytest.approx(torch.tensor(alone, dtype=torch.float64).std().item())


def test_recovery_is_made_anew_for_every_seed(model: nn.Module) -> None:
    asked: list[int] = []

    def recover(seed: int) -> pj.FineTune:
        asked.append(seed)
        return pj.FineTune(epochs=1, train=patterns(1), seed=seed)

    found = pj.compare_criteria(
        model,
        x(),
        budget="macs=0.5x",
        criteria=["magnitude"],
        seeds=(0, 1),
        evaluate=accuracy,
        recover=recover,
    )
    assert asked == [0, 1]
    assert len(found.contenders[0].metrics) == 2


def test_without_data_those_that_need_some_are_named(model: nn.Module) -> None:
    found = pj.compare_criteria(model, x(), budget="macs=0.5x", seeds=(0,), evaluate=accuracy)
    assert found.skipped["taylor"] == "it needs data"
    assert {row.criterion for row in found.contenders} >= {"magnitude", "random"}
    no_loss = _allowed(patterns(1), None)
    assert {name for name, why in no_loss.items() if why == "it needs a loss"} >= {"taylor", "obd", "snip"}
    assert not no_loss["entropy"]
    assert not no_loss["obs"]


@dataclasses.dataclass(frozen=True)
class Broken(WeightCriterion):
    record: ClassVar[Record] = dataclasses.replace(Magnitude.record, name="broken")

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        return torch.full_like(weight, torch.nan)


def test_criterion_that_fails_stands_last_with_its_error_and_the_others_go_on(model: nn.Module) -> None:
    found = pj.compare_criteria(
        model, x(), budget="macs=0.5x", criteria=[Broken(), Magnitude(1)], seeds=(0,), evaluate=accuracy
    )
    assert [row.criterion for row in found.contenders] == ["magnitude(p=1)", "broken"]
    assert found.contenders[1].mean is None
    assert "PJ305" in found.contenders[1].error


def test_sensitivity_is_the_metric_of_each_axis_cut_alone(model: nn.Module, tmp_path: Path) -> None:
    found = pj.sensitivity(model, x(), evaluate=accuracy, criterion="magnitude", fractions=(0.25, 0.75))
    net = pj.trace(model, x())
    scores = pj.criteria.score(net, Magnitude())
    assert [curve.axis for curve in found.curves] == [axis.name for axis in net.prunable]
    for curve, axis in zip(found.curves, net.prunable, strict=True):
        assert list(curve.kept) == [axis.size * 3 // 4, axis.size // 4]
        for kept, metric in zip(curve.kept, curve.metrics, strict=True):
            units = scores[axis.name].topk(kept).indices.sort().values.tolist()
            assert metric == accuracy(cut(net, Plan(kept={axis.name: tuple(units)})).model)
    assert Sensitivity.model_validate_json(found.save(tmp_path / "a.json").read_text()) == found
    exact = found.exact(drop=0.0)
    assert exact.keys() == {axis.name for axis in net.prunable}
    assert found.exact(drop=1.0) == {curve.axis: min(curve.kept) for curve in found.curves}
    pruned = pj.prune(model, x(), budget="params=1x", device="params", exact=exact)
    assert {n: len(k) for n, k in pruned.plan.kept.items()} == {
        curve.axis: exact[curve.axis] for curve in found.curves if exact[curve.axis] < curve.size
    }


def test_curves_are_drawn(model: nn.Module, tmp_path: Path) -> None:
    found = pj.sensitivity(model, x(), evaluate=accuracy, fractions=(0.5,))
    assert found.plot(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in found.plot(tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("fractions", [(), (0.0,), (1.0,), (1.5,)])
def test_sensitivity_refuses_fractions_that_are_none(model: nn.Module, fractions: tuple[float, ...]) -> None:
    with pytest.raises(PenjingError) as caught:
        pj.sensitivity(model, x(), evaluate=accuracy, fractions=fractions)
    assert caught.value.code == "PJ106"


def test_no_seed_and_no_axis_are_errors(model: nn.Module) -> None:
    with pytest.raises(PenjingError, match="no seed"):
        pj.compare_criteria(model, x(), budget="macs=0.5x", seeds=(), evaluate=accuracy)
    with pytest.raises(PenjingError, match="no axis to try"):
        pj.sensitivity(model, x(), evaluate=accuracy, only=["nothing"])


def test_records_are_plain_json(model: nn.Module) -> None:
    found = pj.sensitivity(model, x(), evaluate=accuracy, fractions=(0.5,), only=["stem*"])
    assert json.loads(found.model_dump_json())["curves"][0]["axis"] == found.curves[0].axis


def test_criterion_with_a_seed_of_its_own_is_tried_with_every_seed(model: nn.Module) -> None:
    found = pj.compare_criteria(
        model,
        x(),
        budget="macs=0.4x",
        criteria=[pj.criteria.Random(seed=7)],
        seeds=range(3),
        evaluate=accuracy,
    )
    named = pj.compare_criteria(model, x(), budget="macs=0.4x", criteria=["random"], evaluate=accuracy)
    assert found.contenders[0].metrics == named.contenders[0].metrics


def test_wrong_names_and_options_are_told_before_anything_is_pruned(model: nn.Module) -> None:
    told: list[object] = []
    given = {"budget": "macs=0.5x", "evaluate": accuracy, "told": told.append}
    with pytest.raises(PenjingError) as caught:
        pj.compare_criteria(model, x(), criteria=["magnitude", "zzz"], **given)  # type: ignore[arg-type]
    assert caught.value.code == "PJ301"
    with pytest.raises(PenjingError, match="`bogus`"):
        pj.compare_criteria(model, x(), criteria=["magnitude"], bogus=1, **given)  # type: ignore[arg-type]
    with pytest.raises(PenjingError, match="`criteria`"):
        pj.compare_criteria(model, x(), criteria="magnitude", **given)  # type: ignore[arg-type]
    assert told == []


def test_axis_keeps_what_holds_without_a_gap() -> None:
    curve = Curve(axis="a", size=16, kept=(12, 8, 2), metrics=(0.9, 0.5, 0.95), macs=(0.9, 0.8, 0.7))
    found = Sensitivity(model="m", criterion="c", before=0.9, fractions=(0.2, 0.5, 0.9), curves=(curve,))
    assert found.exact(drop=0.0) == {"a": 12}
    for drop in (-1.0, float("nan")):
        with pytest.raises(PenjingError) as caught:
            found.exact(drop=drop)
        assert caught.value.code == "PJ106"


def test_plot_of_an_unknown_form_is_an_error(model: nn.Module, tmp_path: Path) -> None:
    found = pj.sensitivity(model, x(), evaluate=accuracy, fractions=(0.5,), only=["stem*"])
    for write in (lambda: found.plot(tmp_path / "a.xyz"), lambda: found.save(tmp_path / "none" / "a.json")):
        with pytest.raises(PenjingError) as caught:
            write()
        assert caught.value.code == "PJ602"
