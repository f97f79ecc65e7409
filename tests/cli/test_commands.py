from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import load_model

from penjing.cli import COMMANDS, main
from penjing.compress.masks import Masks
from penjing.criteria import CRITERIA
from penjing.devices import DEVICES
from penjing.report import Report
from tests.api.models import small


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A run by the command line; by macs, since timing is tried elsewhere."""
    target = folder / "runs" / "a"
    given = [
        "prune",
        f"{folder}/good.py:task",
        "--budget",
        "macs=0.5x",
        "--device",
        "macs",
        "-o",
        str(target),
    ]
    assert main([*given, "--epochs", "1"]) == 0
    return target


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def record(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(printed(capsys, *arguments, "--json"))


def test_commands_are_those_of_the_design() -> None:
    assert set(COMMANDS) == {
        "inspect",
        "devices",
        "criteria",
        "profile",
        "calibrate",
        "compare-criteria",
        "sensitivity",
        "sparsify",
        "sparse",
        "prune",
        "resume",
        "export",
        "report",
        "demo",
    }


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=str)
def test_command_helps(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert "Usage" in printed(capsys, *command, "--help")


def test_devices_and_criteria_list_every_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in record(capsys, "devices")] == [*DEVICES, "ssh:HOST"]
    assert [row["name"] for row in record(capsys, "criteria")] == list(CRITERIA)
    assert all(name in printed(capsys, "devices") for name in DEVICES)
    assert all(name in printed(capsys, "criteria") for name in CRITERIA)
    rows = {row["name"]: row for row in record(capsys, "criteria")}
    assert rows["taylor"]["needs"] == rows["obd"]["needs"] == ["data", "loss"]
    assert rows["obs"]["needs"] == ["data"]
    assert rows["magnitude"]["needs"] == []
    assert (rows["obd"]["scores"], rows["bn_scale"]["scores"]) == ("weights", "units")
    assert (rows["obd"]["cost"], rows["magnitude"]["cost"]) == ("9 backwards a batch", "weights alone")
    heading = printed(capsys, "criteria").splitlines()[1]
    assert heading.split() == ["criterion", "scores", "needs", "cost", "source"]


def test_inspect_shows_axes_and_why_others_are_frozen(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    found = record(capsys, "inspect", f"{folder}/good.py:task")
    axes = {axis["name"]: axis for axis in found["axes"]}
    assert axes["inner"]["size"] == 32
    assert not axes["inner"]["frozen"]
    assert {"inner.weight", "outer.weight"} <= set(axes["inner"]["tensors"])
    assert all(axis["reason"] for axis in axes.values() if axis["frozen"])
    assert found["parameters"] > 0 < found["macs"]
    assert sum(found["operators"].values()) > 5
    text = printed(capsys, "inspect", f"{folder}/good.py:task")
    assert "inner" in text
    assert "frozen" in text


def test_prune_writes_a_run_and_prints_its_report(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    report = Report.model_validate_json((run / "report.json").read_text())
    assert record(capsys, "report", str(run)) == json.loads((run / "report.json").read_text())
    assert report.budget[0].met
    assert [step.method for step in report.recovery] == ["reconstruct", "fine_tune"]
    text = printed(capsys, "report", str(run))
    for words in ("macs", "met", "before", "after", "equals the masked original", "inner", "metric"):
        assert words in text


def test_prune_fine_tunes_as_its_options_say(folder: Path) -> None:
    target, log = folder / "runs" / "tuned", folder / "log"
    given = [
        "prune",
        f"{folder}/good.py:task",
        "--budget",
        "macs=0.5x",
        "--device",
        "macs",
        "-o",
        str(target),
    ]
    tuning = ["--epochs", "2", "--optimizer", "sgd", "--ema", "0.9", "--patience", "1", "--lr", "0.05"]
    assert main([*given, *tuning, "--tensorboard", str(log)]) == 0
    recipe = tomllib.loads((target / "recipe.toml").read_text())
    wanted = {"optimizer": "sgd", "ema": 0.9, "patience": 1, "lr": 0.05, "epochs": 2}
    assert {name: recipe["recover"][1][name] for name in wanted} == wanted
    assert [path.name.startswith("events.out.tfevents") for path in log.iterdir()] == [True]


def test_prune_refuses_an_optimizer_that_there_is_not(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    given = ["prune", f"{folder}/good.py:task", "--budget", "macs=0.5x", "-o", str(folder / "runs" / "no")]
    assert main([*given, "--optimizer", "lamb"]) == 2
    assert "PJ313" in capsys.readouterr().err
    assert not (folder / "runs" / "no").exists()


def test_prune_prints_the_record_as_json(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    target = folder / "runs" / "json"
    given = [
        "prune",
        f"{folder}/good.py:bare",
        "--budget",
        "params=0.5x",
        "--device",
        "params",
        "-o",
        str(target),
    ]
    assert record(capsys, *given) == json.loads((target / "report.json").read_text())


def test_prune_that_has_nothing_to_do_says_so_and_succeeds(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    target = folder / "runs" / "met"
    given = ["prune", f"{folder}/good.py:task", "--budget", "macs=1x", "--device", "macs", "-o", str(target)]
    assert "nothing was changed" in printed(capsys, *given)
    assert (target / "model.onnx").is_file()


def test_prune_takes_axes_by_hand(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    options = ["--budget", "macs=0.9x", "--budget", "params=0.9x", "--device", "macs", "--keep", "stem*",
               "--exact", "inner=8", "--criterion", "random", "--seed", "3", "--epochs", "0"]  # fmt: skip
    found = record(
        capsys, "prune", f"{folder}/good.py:task", *options, "-o", str(folder / "runs" / "by-hand")
    )
    axes = {axis["name"]: axis["kept"] for axis in found["axes"]}
    assert (axes["stem"], axes["inner"]) == (16, 8)
    assert found["seed"] == 3
    assert [line["quantity"] for line in found["budget"]] == ["macs", "params"]


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_export_gives_a_file_that_runs(
    capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path, form: str
) -> None:
    target = tmp_path / f"small.{form}"
    found = record(capsys, "export", str(run), "--to", form, "-o", str(target))
    assert found == {"file": str(target), "format": form, "size_bytes": target.stat().st_size}
    assert target.read_bytes() == (run / f"model.{form}").read_bytes()
    x = torch.randn(1, 1, 12, 12)
    if form == "onnx":
        session = onnxruntime.InferenceSession(target)
        assert session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].shape == (1, 4)
    else:
        assert torch.export.load(target).module()(x).shape == (1, 4)


def test_export_names_the_file_after_the_run(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    printed(capsys, "export", str(run))
    assert (run.parent / "a.onnx").is_file()
    assert not list(run.parent.glob(".*"))


def test_profile_counts_operators_on_a_device_that_only_counts(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    found = record(capsys, "profile", f"{folder}/good.py:task", "--device", "macs")
    assert sum(row["macs"] for row in found["operators"]) == found["macs"]
    assert found["latency_ms"] is None
    assert "stem" in printed(capsys, "profile", f"{folder}/good.py:task", "--device", "macs")


def test_profile_measures_the_whole_and_its_operators(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    found = record(capsys, "profile", f"{folder}/good.py:task")
    assert found["latency_ms"] > 0
    assert sum(row["ms"] for row in found["operators"]) == pytest.approx(found["predicted_ms"], rel=1e-6)
    assert sum(row["share"] for row in found["operators"]) == pytest.approx(1)
    assert found["model_error"]["networks"] >= 10
    text = printed(capsys, "profile", f"{folder}/good.py:task")
    assert "error of the latency model" in text
    assert "inner" in text


def test_program_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version").split() == ["penjing", metadata.version("penjing")]


def test_prune_cuts_in_rounds_down_to_a_floor_and_resumes_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    given = ["prune", f"{folder}/good.py:task", "--floor", "0.5x", "--device", "macs", "-o", str(run)]
    found = record(
        capsys, *given, "--budget", "macs=0.4x", "--rounds", "2", "--spacing", "cubic", "--epochs", "0"
    )
    assert [line["quantity"] for line in found["budget"]] == ["macs", "metric"]
    assert [line["shipped"] for line in found["rounds"]] == [False, True]
    before = found["before"]["macs"]
    assert found["rounds"][0]["limits"]["macs"] == pytest.approx(before * (0.4 + 0.6 / 8))
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    assert recipe["budget"] == "macs=0.4x,metric>=0.5x"
    assert recipe["schedule"]["rounds"] == 2
    assert main(["resume", str(run)]) == 0
    assert "is finished" in capsys.readouterr().err
    assert main([*given[:-1], str(tmp_path / "other"), "--rounds", "0"]) == 2
    assert capsys.readouterr().err.startswith("[PJ515]")


def test_sparse_says_what_is_stored_and_why(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    said = record(capsys, "sparse", f"{folder / 'good.py'}:bare", "-o", str(tmp_path / "sparse"))
    assert [layer["chosen"] for layer in said["layers"]] == [None, None]
    assert said["sparse_ms"] == said["dense_ms"] > 0
    assert {path.name for path in (tmp_path / "sparse").iterdir()} == {"sparse.json", "sparse.safetensors"}
    drawn = printed(capsys, "sparse", f"{folder / 'good.py'}:bare")
    assert "more than half of its numbers" in drawn
    program = tmp_path / "sparse.pt2"
    assert "torch.export.load" in printed(capsys, "sparse", f"{folder / 'good.py'}:bare", "-o", str(program))
    assert torch.export.load(program).module()(torch.randn(2, 4)).shape == (2, 3)


def test_criteria_are_compared_and_axes_tried(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    given = ["compare-criteria", f"{folder}/good.py:task", "--budget", "macs=0.5x", "--seeds", "1"]
    chosen = ["--criterion", "magnitude", "--criterion", "random"]
    found = record(capsys, *given, *chosen, "-o", str(folder / "criteria.json"))
    assert {row["criterion"] for row in found["contenders"]} == {"magnitude", "random"}
    assert json.loads((folder / "criteria.json").read_text()) == found
    shown = printed(capsys, *given, *chosen, "--epochs", "1")
    assert "magnitude" in shown
    axes = record(capsys, "sensitivity", f"{folder}/good.py:task", "--fraction", "0.5", "--only", "stem*")
    assert [len(curve["metrics"]) for curve in axes["curves"]] == [1] * len(axes["curves"])
    assert "-50%" in printed(capsys, "sensitivity", f"{folder}/good.py:task", "--fraction", "0.5")
    assert main(["compare-criteria", f"{folder}/good.py:bare", "--budget", "macs=0.5x"]) == 2
    assert "without a metric" in capsys.readouterr().err
    assert main([*given, "-o", str(folder / "none" / "a.json")]) == 2  # before anything is pruned
    assert "there is no folder" in capsys.readouterr().err


def test_weights_become_zeros_and_are_written(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    target = folder / "zeros"
    given = ["sparsify", f"{folder}/good.py:task", "--sparsity", "0.6", "--criterion", "taylor"]
    found = record(capsys, *given, "-o", str(target))
    assert found["sparsity"] == pytest.approx(0.6, abs=1e-3)
    assert set(found["metric"]) == {"before", "after"}
    again = small()
    load_model(again, str(target / "model.safetensors"))
    masks = Masks.load(target / "masks.safetensors")
    assert all(not bool(dict(again.named_parameters())[name][~mask].any()) for name, mask in masks.items())
    assert main([*given, "-o", str(target)]) == 2  # it is there already
    assert "50.00% zeros" in printed(capsys, "sparsify", f"{folder}/good.py:task", "--pattern", "2:4")
