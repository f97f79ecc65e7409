from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from penjing.network import Call
from penjing.run.files import save_program
from penjing.run.state import save_state


def test_program_does_not_take_along_what_the_example_is_a_view_of(tmp_path: Path) -> None:
    model, batch = nn.Linear(8, 4), torch.randn(100_000, 8)
    notes = save_program(model, Call.of(model, batch[:1]), tmp_path / "model.pt2")
    assert notes == []
    assert (tmp_path / "model.pt2").stat().st_size < batch.numel()


def test_files_of_a_run_can_be_read_by_those_who_may_read_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_state(nn.Linear(2, 2), tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
