"""Budgets on devices that are only estimated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import penjing as pj
from penjing.api import profile
from penjing.devices import Roofline, get
from tests.api.models import Small, accuracy, loss, patterns, small

INPUTS = patterns(1)[0][0][:2]
SHEET = """
name = "board"
summary = "a board"
source = "made up"
error = 0.3
precision = "int8"
[compute]
gmacs_per_s = 0.1
[memory]
gb_per_s = 0.1
ram_kb = 2
[energy]
pj_per_mac = 100
pj_per_byte = 10
"""


def pruned(folder: Path | None = None, **changed: Any) -> pj.Result:
    options: dict[str, Any] = {"budget": "latency=0.5x", "device": "phone-cpu", "criterion": "magnitude"}
    return pj.prune(small(), INPUTS, directory=folder, **{**options, **changed})


def sheet(folder: Path) -> str:
    path = folder / "board.toml"
    path.write_text(SHEET, encoding="utf-8")
    return str(path)


def test_latency_is_within_and_never_called_met() -> None:
    result = pruned()
    (line,) = result.report.budget
    assert line.achieved <= line.limit
    assert (line.within, line.met, line.provenance, line.error) == (True, False, "analytic", 0.4)
    assert result.report.device.provenance == "analytic"
    assert "within, by an estimate (±40%)" in str(result.report)
    assert result.report.after.runs == 0


def test_figures_are_those_of_the_result_as_it_is() -> None:
    result = pruned(budget="energy=0.4x")
    phone = get("phone-cpu")
    assert isinstance(phone, Roofline)
    told = phone.estimate(pj.trace(result.model, INPUTS)).figures({})
    assert result.report.after.latency_ms == pytest.approx(told["latency"])
    assert result.report.after.energy_mj == pytest.approx(told["energy"])
    assert result.report.after.energy_mj <= 0.4 * (result.report.before.energy_mj or 0)


def test_several_budgets_hold_at_once() -> None:
    result = pruned(budget=pj.Budget(latency="0.6x", energy="0.5x", size="0.6x"))
    lines = {line.quantity: line for line in result.report.budget}
    assert all(line.within for line in lines.values())
    assert {name: line.met for name, line in lines.items()} == {
        "latency": False,
        "energy": False,
        "size": True,
    }


def test_what_does_not_fit_the_device_is_said(tmp_path: Path) -> None:
    result = pruned(device=sheet(tmp_path))
    notes = " ".join(result.report.notes)
    assert "estimated to run the network in int8; the artifact is float32" in notes
    assert "activations in int8 take about" in notes
    assert "`board` has 2 KB" in notes


def test_run_with_a_sheet_is_gone_on_with(tmp_path: Path) -> None:
    path, folder = sheet(tmp_path), tmp_path / "run"
    first = pruned(folder, device=path)
    assert f'device = "{path}"' in (folder / "recipe.toml").read_text()
    details = json.loads((folder / "report.json").read_text())["device"]["details"]
    assert details["compute"]["gmacs_per_s"] == 0.1
    again = pruned(folder, device=path)
    assert again.plan == first.plan
    assert isinstance(pj.load(folder, Small), Small)


def test_another_sheet_of_the_same_name_is_another_job(tmp_path: Path) -> None:
    path, folder = sheet(tmp_path), tmp_path / "run"
    pruned(folder, device=path)
    Path(path).write_text(SHEET.replace("gmacs_per_s = 0.1", "gmacs_per_s = 0.2"), encoding="utf-8")
    with pytest.raises(pj.PenjingError, match="PJ610"):
        pruned(folder, device=path)


def test_rounds_and_recovery_go_by_estimates_too() -> None:
    result = pruned(
        budget="latency=0.4x",
        criterion="taylor",
        data=patterns(2),
        loss=loss,
        evaluate=accuracy,
        recover=pj.Reconstruct(),
        schedule=pj.Iterative(rounds=2),
    )
    assert result.report.budget[0].within
    assert len(result.report.rounds) == 2


def test_energy_is_refused_where_nothing_tells_it() -> None:
    with pytest.raises(pj.PenjingError, match="PJ510"):
        pruned(device="macs", budget="energy=0.5x")


def test_budget_that_no_network_meets_says_what_can_be() -> None:
    with pytest.raises(pj.PenjingError, match="PJ503") as caught:
        pruned(budget="latency=1us")
    assert any("latency=" in way for way in caught.value.tries)


def test_profile_lists_what_the_estimate_is_made_of() -> None:
    record = profile(small(), INPUTS, device="phone-cpu")
    parts = sum(row["ms"] for row in record["operators"])
    phone = get("phone-cpu")
    assert isinstance(phone, Roofline)
    assert record["latency_ms"] == pytest.approx(parts + phone.sheet.overhead.call_us / 1e3)
    assert record["error"] == 0.4
    assert record["energy_mj"] > 0
