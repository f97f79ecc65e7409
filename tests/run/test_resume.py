"""Runs that are stopped in every way there is, and go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

import penjing as pj
from penjing.cli import main
from penjing.run import loop
from penjing.run.lock import locked
from tests.api.models import accuracy, loss, patterns, small
from tests.run.jobs import ROOT, TASK, arguments, environment, penjing, prune, result_of, same_weights

STAGES = [
    "begin", "done 000-job", "stage trace", "done 001-original", "stage score", "done 002-scores",
    "done 003-plan-candidate-1", "done 004-plan", "stage recover", "done 005-recover-1-BatchNorm", "epoch 1",
    "recovered", "done 006-recover-2-FineTune", "done 007-result", "done 008-metrics", "finished",
]  # fmt: skip
QUICK = ["epoch 1", "done 007-result"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "job.py"
    path.write_text(TASK)
    return path


@pytest.fixture(scope="module")
def whole(task: Path) -> Path:
    """The run that nobody stopped."""
    run = task.parent / "whole"
    assert penjing(arguments(task, run)).returncode == 0
    return run


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def done(run: Path) -> list[str]:
    return [event["step"] for event in events(run) if event["event"] == "done"]


@pytest.mark.parametrize(
    "stage", [pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow) for s in STAGES]
)
def test_a_run_that_is_killed_goes_on_to_the_same_result(
    task: Path, whole: Path, tmp_path: Path, stage: str
) -> None:
    run = tmp_path / "run"
    assert penjing(arguments(task, run), at=stage).returncode == -signal.SIGKILL
    before = done(run)
    resumed = penjing(["resume", str(run)])
    assert resumed.returncode == 0, resumed.stderr
    assert result_of(run) == result_of(whole)
    assert done(run) == done(whole)  # in both processes together, every step once
    assert done(run)[: len(before)] == before
    manifest = json.loads((run / "manifest.json").read_text())
    assert set(manifest["files"]) | {"manifest.json", ".lock"} == {path.name for path in run.iterdir()}


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_how_to_go_on(task: Path, tmp_path: Path, by: int) -> None:
    run = tmp_path / "run"
    stopped = penjing(arguments(task, run), at="epoch 1", by=by)
    assert stopped.returncode == 130
    assert stopped.stderr.strip() == f"stopped: `penjing resume {run}` goes on from here"
    assert events(run)[-1]["event"] == "stopped"


def test_a_stop_without_a_directory_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom tests.run.jobs import prune\nfrom penjing.run.progress import Log\n"
        "kept = Log.event\ndef event(self, kind, /, **figures):\n    kept(self, kind, **figures)\n"
        "    if kind == 'epoch': os.kill(os.getpid(), signal.SIGTERM)\nLog.event = event\nprune(None)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**environment(), "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "KeyboardInterrupt" in found.stderr
    assert not list(tmp_path.glob("penjing-*"))


def stopped(folder: Path) -> Path:
    """A run that stopped before its last epoch."""
    calls = []

    def evaluate(model: torch.nn.Module) -> float:
        calls.append(model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return accuracy(model)

    with pytest.raises(KeyboardInterrupt, match="goes on from here"):
        prune(folder, evaluate=evaluate)
    return folder


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopped(tmp_path_factory.mktemp("half") / "run")


@pytest.fixture
def run(half: Path, tmp_path: Path) -> Path:
    return shutil.copytree(half, tmp_path / "run")


def test_the_same_call_goes_on_and_then_gives_the_finished_run(run: Path) -> None:
    expected = prune(None)
    first = prune(run)
    assert same_weights(first.model, expected.model)
    assert first.plan == expected.plan
    before = (run / "events.jsonl").read_bytes()
    again = prune(run)
    assert same_weights(again.model, expected.model)
    assert again.report == first.report
    assert (run / "events.jsonl").read_bytes() == before
    assert first.save(run) == run
    assert {path.name for path in first.save(run.parent / "copy").iterdir()} >= {
        "manifest.json",
        "model.onnx",
    }
    assert not (run.parent / "copy" / ".lock").exists()
    with pytest.raises(pj.PenjingError, match="PJ610"):
        prune(run, seed=1)


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "budget": ({"budget": "macs=0.4x"}, '- budget = "macs=0.5x"\n           + budget = "macs=0.4x"'),
    "seed": ({"seed": 3}, "+ seed = 3"),
    "recovery": ({"recover": pj.BatchNorm()}, "FineTune"),
    "learning rate": (
        {"recover": [pj.BatchNorm(), pj.FineTune(epochs=2, train=patterns(), lr=0.5)]},
        "lr = 0.5",
    ),
    "weights": ({"model": small(seed=5)}, "+ model: Small"),
    "calibration data": ({"data": patterns(2, seed=4)}, "+ data:"),
    "training data": (
        {"recover": [pj.BatchNorm(), pj.FineTune(epochs=2, train=patterns(seed=4))]},
        "+ recover.2.train",
    ),
    "options of the criterion": ({"criterion": pj.criteria.Random(seed=5)}, "+ criterion: {'seed': 5}"),
    "criterion": ({"criterion": "magnitude"}, '+ criterion = "magnitude"'),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_another_job_is_refused_with_the_difference(run: Path, name: str) -> None:
    changed, says = OTHER[name]
    before = {path: path.read_bytes() for path in (run / "steps").rglob("*") if path.is_file()}
    with pytest.raises(pj.PenjingError) as caught:
        prune(run, **changed)
    assert caught.value.code == "PJ610"
    assert says in str(caught.value)
    assert {path: path.read_bytes() for path in (run / "steps").rglob("*") if path.is_file()} == before


def test_data_that_differ_at_every_reading_are_not_compared(tmp_path: Path) -> None:
    class Drawn:
        def __init__(self) -> None:
            self.generator = torch.Generator().manual_seed(0)

        def __iter__(self) -> Any:
            yield torch.randn(8, 1, 12, 12, generator=self.generator)

    calls: list[int] = []

    def evaluate(model: torch.nn.Module) -> float:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return 0.5

    given = {"data": Drawn(), "criterion": "magnitude", "recover": pj.BatchNorm(), "evaluate": evaluate}
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path / "run", **given)
    assert prune(tmp_path / "run", **given).report.after.metric == 0.5


def test_a_recipe_that_was_edited_is_refused(task: Path, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    penjing(arguments(task, run), at="done 002-scores")
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe.replace("epochs = 2", "epochs = 3"))
    assert main(["resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("[PJ610]")
    assert "epochs = 3" in said
    for content, code in (("model =", "PJ606"), (recipe + "\n[odd]\na = 1\n", "PJ606")):
        (run / "recipe.toml").write_text(content)
        assert main(["resume", str(run)]) == 2
        assert capsys.readouterr().err.startswith(f"[{code}]")
    (run / "recipe.toml").write_text("# a note\n" + recipe)
    assert main(["resume", str(run)]) == 0


def test_a_damaged_step_is_done_again_with_all_after_it(run: Path) -> None:
    expected = prune(None)
    scores = run / "steps" / "002-scores" / "scores.safetensors"
    content = bytearray(scores.read_bytes())
    content[-1] ^= 0x40
    scores.write_bytes(content)
    before = len(events(run))
    found = prune(run)
    assert found.plan == expected.plan
    assert same_weights(found.model, expected.model)
    later = events(run)[before:]
    assert {"event": "damaged", "step": "002-scores"}.items() <= later[1].items()
    assert [event["step"] for event in later if event["event"] == "done"][:2] == [
        "002-scores",
        "003-plan-candidate-1",
    ]


def test_a_log_that_was_cut_off_is_gone_on_with(run: Path) -> None:
    whole = (run / "events.jsonl").read_text()
    with (run / "events.jsonl").open("a") as file:
        file.write('{"seconds": 3.1, "ev')
    prune(run)
    assert (run / "events.jsonl").read_text().startswith(whole)
    times = [event["seconds"] for event in events(run) if event["event"] in ("begin", "stage", "done")]
    assert times == sorted(times)


def test_an_unfinished_run_is_not_read_but_says_how_to_go_on(run: Path, capsys: Any) -> None:
    for command in ("report", "export"):
        assert main([command, str(run)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("[PJ608]")
        assert f"penjing resume {run}" in said
    with pytest.raises(pj.PenjingError, match="PJ608"):
        pj.load(run, small)


def test_a_run_from_python_cannot_be_resumed_by_the_command_line(run: Path, capsys: Any) -> None:
    assert main(["resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("[PJ611]")
    assert "pj.prune" in said


def test_resume_says_that_a_run_is_finished(whole: Path, capsys: Any) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert main(["resume", str(whole)]) == 0
    captured = capsys.readouterr()
    assert "is finished" in captured.err
    assert "met" in captured.out
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


def test_resume_refuses_what_is_no_run(tmp_path: Path, capsys: Any) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        assert main(["resume", str(folder)]) == 2
        assert capsys.readouterr().err.startswith("[PJ603]")


def test_only_one_process_works_on_a_run(run: Path) -> None:
    (run / "events.jsonl").write_text(
        (run / "events.jsonl").read_text().replace(f'"pid": {os.getpid()}', f'"pid": {os.getppid()}')
    )
    with locked(run), pytest.raises(pj.PenjingError) as caught:
        prune(run)
    assert caught.value.code == "PJ609"
    assert f"process {os.getppid()}" in caught.value.because
    prune(run)


def test_a_finished_run_whose_files_were_changed_is_not_read(whole: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(whole, tmp_path / "run")
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(pj.PenjingError, match="PJ606"):
        pj.load(copy, small)
    pj.load(whole, small)


def test_a_job_that_is_refused_leaves_no_directory(tmp_path: Path) -> None:
    for changed in ({"budget": "macs=0.0001x"}, {"keep": ["steam"]}, {"loss": loss, "data": []}):
        with pytest.raises(pj.PenjingError):
            prune(tmp_path / "run", **changed)
        assert not list(tmp_path.iterdir())


def test_a_run_that_fails_on_the_way_says_how_to_go_on_and_does(run: Path) -> None:
    def failing(_: torch.nn.Module) -> float:
        raise RuntimeError("no")

    with pytest.raises(pj.PenjingError) as caught:
        prune(run, evaluate=failing)
    assert caught.value.code == "PJ315"
    assert "goes on from here" in caught.value.tries[-1]
    assert same_weights(prune(run).model, prune(None).model)


def test_timings_that_were_too_noisy_are_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = cycle([True, False])  # when the result is timed, and when the loop asks
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_inside", lambda *_: next(verdicts))
        patch.setattr(loop, "_too_noisy", lambda *_: pj.PenjingError("PJ511", "noise"))
        with pytest.raises(pj.PenjingError, match="PJ511"):
            prune(tmp_path / "run", recover=None)
    before = done(tmp_path / "run")
    prune(tmp_path / "run", recover=None)
    assert done(tmp_path / "run")[len(before) :] == ["005-result", "006-metrics"]
