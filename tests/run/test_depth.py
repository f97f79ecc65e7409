"""Residual branches that the planner leaves out as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import penjing as pj
from tests.api.models import Small, accuracy, loss, patterns, small

INPUTS = patterns()[0][0][:4]


def pruned(folder: Path | None = None, **changed: Any) -> pj.Result:
    """A budget that `inner`, the branch's own axis, can meet only by going altogether."""
    options: dict[str, Any] = {
        "budget": "macs=0.1x", "device": "macs", "data": patterns(2), "loss": loss, "evaluate": accuracy,
        "only": ["inner"], "depth": True, "recover": pj.Reconstruct(),
    }  # fmt: skip
    given = {**options, **changed}
    return pj.prune(given.pop("model", None) or small(), INPUTS, directory=folder, **given)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> tuple[pj.Result, Path]:
    folder = tmp_path_factory.mktemp("depth") / "run"
    return pruned(folder), folder


def test_branch_is_left_out_and_the_report_says_so(shallow: tuple[pj.Result, Path]) -> None:
    result, _ = shallow
    assert result.plan == pj.Plan(dropped=("branch",))
    report = result.report
    assert report.dropped == ("branch",)
    assert {axis.name: axis.kept for axis in report.axes}["inner"] == 0
    assert report.changed
    assert report.fallback is None
    assert type(result.model) is Small
    assert report.budget[0].met
    assert "dropped    branch" in str(report)


def test_figures_are_those_of_the_smaller_network(shallow: tuple[pj.Result, Path]) -> None:
    result, _ = shallow
    net = pj.trace(result.model, INPUTS)
    assert result.report.after.macs == net.macs
    assert result.report.after.params == sum(parameter.numel() for parameter in result.model.parameters())


def test_saved_network_without_its_branch_loads_as_it_was(shallow: tuple[pj.Result, Path]) -> None:
    result, folder = shallow
    again = pj.load(folder, Small).eval()
    with torch.no_grad():
        assert torch.equal(again(INPUTS), result.model(INPUTS))
    assert json.loads((folder / "report.json").read_text())["dropped"] == ["branch"]
    assert "depth = true" in (folder / "recipe.toml").read_text()


def test_nothing_is_left_out_unless_asked_for() -> None:
    with pytest.raises(pj.PenjingError, match="PJ503"):
        pruned(depth=False, only=["stem"], budget="macs=0.001x")
    assert not pruned(depth=False, budget="macs=0.5x").plan.dropped


def test_rounds_go_on_without_the_branches_that_are_gone() -> None:
    """The branch, which says next to nothing, goes first; then what is left becomes narrower."""
    model = small()
    with torch.no_grad():
        model.outer.weight.mul_(1e-4)
    result = pruned(model=model, budget="macs=0.005x", only=None, schedule=pj.Iterative(rounds=2))
    assert result.plan.dropped == ("branch",)
    assert result.plan.kept.keys() == {"stem"}
    assert result.report.budget[0].met
    assert [line.kept["inner"] for line in result.report.rounds] == [0, 0]
    assert result.report.after.macs == pj.trace(result.model, INPUTS).macs


def test_depth_and_a_share_of_all_units_contradict_each_other() -> None:
    with pytest.raises(pj.PenjingError, match="PJ508"):
        pruned(budget="units=0.5x", only=None)
