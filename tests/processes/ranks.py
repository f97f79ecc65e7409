"""Functions called in several real processes that a launcher would have started, joined by gloo."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240


def in_ranks(*functions: Callable[[], Any], world: int = 2) -> list[dict[str, Any]]:
    """What each of the functions gives, by name; a dict for every rank."""
    names = [f"{function.__module__}:{function.__qualname__}" for function in functions]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.processes.ranks", folder, *names]
        for process in started(command, world):
            _, errors = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, errors
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(world)]


def started(command: list[str], world: int = 2, **more: str) -> list[subprocess.Popen[str]]:
    """A process for each rank, with the environment that `torchrun` would give it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = []
    for rank in range(world):
        own = {**environment(), **rank_environment(rank, world, port), **more}
        out = subprocess.PIPE
        found.append(subprocess.Popen(command, cwd=ROOT, text=True, env=own, stdout=out, stderr=out))
    return found


def environment() -> Mapping[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def rank_environment(rank: int, world: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def _main(folder: str, *names: str) -> None:
    torch.set_num_threads(1)
    found = {}
    for name in names:
        module, _, function = name.partition(":")
        found[function] = getattr(importlib.import_module(module), function)()
    torch.save(found, Path(folder) / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    _main(*sys.argv[1:])
