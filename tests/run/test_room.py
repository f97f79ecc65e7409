"""A full disk, stood in for by a limit on the size of files."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import penjing as pj
from penjing.api import profile
from penjing.network import Call
from penjing.run.files import save_program
from penjing.run.inputs import save_inputs
from penjing.run.state import save_state

BATCH = torch.randn(2, 64)


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 4)).eval()


def pruned(**options: Any) -> pj.Result:
    return pj.prune(model(), BATCH, budget="macs=0.5x", device="macs", **options)


@pytest.mark.parametrize("verb", [lambda: pruned(), lambda: profile(model(), BATCH, device="macs")])
def test_a_run_without_room_is_an_error_and_leaves_nothing(
    temporary: Path, verb: Callable[[], object]
) -> None:
    with room_for(16_000), pytest.raises(pj.PenjingError, match="PJ602") as caught:
        verb()
    assert "TMPDIR" in caught.value.tries[-1]
    assert not list(temporary.glob("penjing-*"))


def test_a_run_without_a_place_for_temporary_files_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(pj.PenjingError, match="PJ602"):
        pruned()


def test_files_of_the_users_own_that_fail_are_not_taken_for_a_full_disk() -> None:
    class Batches:
        def __iter__(self) -> Iterator[torch.Tensor]:
            yield from torch.load("absent.pt")

    with pytest.raises(FileNotFoundError):
        pruned(data=Batches(), loss=lambda outputs, _: outputs.sum())


def test_weights_and_inputs_without_room_are_an_error(tmp_path: Path) -> None:
    with room_for(4_000):
        with pytest.raises(pj.PenjingError, match="PJ602"):
            save_state(model(), tmp_path / "model.safetensors")
        with pytest.raises(pj.PenjingError, match="PJ602"):
            save_inputs(Call.of(model(), torch.randn(99, 64)), tmp_path / "inputs.safetensors")


def test_a_program_without_room_is_not_taken_for_one_that_cannot_be_exported(tmp_path: Path) -> None:
    with room_for(4_000), pytest.raises(OSError, match="too large"):
        save_program(model(), Call.of(model(), BATCH), tmp_path / "model.pt2")
