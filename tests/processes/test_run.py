"""Whole runs by two processes: the same plan and weights; errors, losses and stops end both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.processes.ranks import ROOT, environment, started
from tests.run.jobs import TASK, arguments, penjing

WEIGHTS = 1e-5
"""Largest difference of a weight of two processes from that of one."""

FAILING = (
    TASK.replace("loss=loss", "loss=failing")
    + """

import os
def failing(outputs, batch):
    if os.environ.get("RANK") == "1":
        raise ValueError("no loss here")
    return loss(outputs, batch)
"""
)

SLOW = (
    TASK.replace("loss=loss", "loss=slow")
    + """

import os, time
def slow(outputs, batch):
    time.sleep(0.1)
    return loss(outputs, batch)
"""
)


def task_file(folder: Path, text: str = TASK) -> Path:
    file = folder / "task.py"
    file.write_text(text, encoding="utf-8")
    return file


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Code, output and errors of each."""
    found = [process.communicate(timeout=240) for process in processes]
    return [(p.returncode, out, err) for p, (out, err) in zip(processes, found, strict=True)]


def program(*given: str) -> list[str]:
    return [sys.executable, "-m", "penjing", *given]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    done = penjing(arguments(task_file(folder), folder / "run"))
    assert done.returncode == 0, done.stderr
    return folder / "run"


def methods(run: Path) -> list[str]:
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return [step["method"] for step in report["recovery"]]


def assert_same(run: Path, alone: Path) -> None:
    assert (run / "plan.json").read_bytes() == (alone / "plan.json").read_bytes()
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (run, alone))
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=0, atol=WEIGHTS)


def test_a_run_under_torchrun_has_the_plan_and_weights_of_one_process(tmp_path: Path, alone: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "penjing"]
    done = subprocess.run(
        [*launcher, *arguments(task_file(tmp_path), tmp_path / "run")],
        env=environment(), cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    assert_same(tmp_path / "run", alone)
    assert methods(tmp_path / "run") == methods(alone)


def test_an_error_in_one_process_ends_both_with_its_rank(tmp_path: Path) -> None:
    given = arguments(task_file(tmp_path, FAILING), tmp_path / "run", "--criterion", "taylor")
    (first, _, told), (second, _, traceback) = ended(started(program(*given)))
    assert (first, second) == (2, 1)
    assert told.splitlines() == ["[PJ340] rank 1 has failed: ValueError: no loss here"]
    assert "in failing" in traceback
    assert "PJ340" not in traceback


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_the_loss_of_a_process_ends_the_other_and_the_run_goes_on(
    rank: int, tmp_path: Path, alone: Path
) -> None:
    run = tmp_path / "run"
    processes = started(program(*arguments(task_file(tmp_path, SLOW), run)))
    end = time.monotonic() + 120
    while not (run / "checkpoints").is_dir() and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(processes[rank].pid, signal.SIGKILL)
    codes = ended(processes)
    assert codes[rank][0] == -signal.SIGKILL
    code, _, told = codes[1 - rank]
    assert code == 2
    assert f"the process of rank {rank} is lost" in told
    resumed = penjing(["resume", str(run)])
    assert resumed.returncode == 0, resumed.stderr
    assert_same(run, alone)


@pytest.mark.slow
def test_a_run_in_rounds_has_the_plan_and_weights_of_one_process(tmp_path: Path) -> None:
    alone = penjing(arguments(task_file(tmp_path), tmp_path / "alone", "--rounds", "2"))
    assert alone.returncode == 0, alone.stderr
    found = ended(started(program(*arguments(task_file(tmp_path), tmp_path / "run", "--rounds", "2"))))
    assert [code for code, _, _ in found] == [0, 0], found
    assert_same(tmp_path / "run", tmp_path / "alone")
