"""A job of a few seconds that goes through every stage, as a task file and as a call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import penjing as pj
from tests.api.models import accuracy, loss, patterns, small

ROOT = Path(__file__).parents[2]

TASK = """
import torch
import penjing as pj
from tests.api.models import accuracy, loss, patterns, small

torch.set_num_threads(1)


def task():
    return pj.Task(small(), patterns()[0][0][:4], train=patterns(), calibration=patterns(2), loss=loss,
                   evaluate=accuracy)
"""

KILLER = """
import json, os, signal, sys
from penjing.cli import main
from penjing.run.progress import Log

wanted, signal_number = sys.argv[1], int(sys.argv[2])
kept = Log.event


def event(self, kind, /, **figures):
    kept(self, kind, **figures)
    if f"{kind} {figures.get('step') or figures.get('name') or figures.get('epoch') or ''}".strip() == wanted:
        os.kill(os.getpid(), signal_number)


Log.event = event
sys.exit(main(sys.argv[3:]))
"""
"""The command line that is sent a signal as soon as its log has noted an event."""


def prune(folder: Path | None, **changed: Any) -> pj.Result:
    """The job from Python."""
    options: dict[str, Any] = {
        "budget": "macs=0.5x", "device": "macs", "data": patterns(2), "loss": loss, "evaluate": accuracy,
        "recover": [pj.BatchNorm(), pj.FineTune(epochs=2, train=patterns())],
    }  # fmt: skip
    given = {**options, **changed}
    return pj.prune(given.pop("model", None) or small(), patterns()[0][0][:4], directory=folder, **given)


def arguments(task: Path, run: Path, *more: str) -> list[str]:
    """The same job on the command line."""
    budget = ["--budget", "macs=0.5x", "--device", "macs"]
    return ["prune", f"{task}:task", *budget, "--epochs", "2", "-o", str(run), *more]


def penjing(
    given: Sequence[str], *, at: str = "", by: int = signal.SIGKILL, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, which gets a signal at an event, if there is one."""
    command = [sys.executable, "-c", KILLER, at, str(int(by)), *given]
    return subprocess.run(
        command, env=environment(), cwd=ROOT, text=True, capture_output=True, check=False, **options
    )


def environment() -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }


def result_of(run: Path) -> dict[str, bytes]:
    """What must not differ between two runs of the same job."""
    names = ("plan.json", "model.safetensors", "model.onnx", "original.onnx", "surgery.json", "recipe.toml")
    return {name: (run / name).read_bytes() for name in names}


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
