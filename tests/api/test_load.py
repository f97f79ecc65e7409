from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import penjing as pj
from penjing.errors import PenjingError
from tests.api.models import Small, patterns, small

ROOT = Path(__file__).parents[2]
EXAMPLE = patterns()[0][0][:4]


def test_load_gives_the_model_bit_for_bit(pruned: pj.Result, saved: Path) -> None:
    loaded = pj.load(saved, lambda: small(seed=5))
    assert type(loaded) is Small
    mine, theirs = pruned.model.state_dict(), loaded.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    with torch.no_grad():
        assert torch.equal(pruned.model(EXAMPLE), loaded.eval()(EXAMPLE))


def test_load_is_bit_exact_in_another_process(pruned: pj.Result, saved: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        (tmp_path / "expected").write_bytes(pruned.model(EXAMPLE).numpy().tobytes())
    (tmp_path / "inputs").write_bytes(EXAMPLE.numpy().tobytes())
    script = f"""
import numpy as np, torch
torch.set_num_threads(1)
import penjing as pj
from tests.api.models import small
x = torch.from_numpy(np.fromfile("{tmp_path}/inputs", np.float32).reshape(4, 1, 12, 12).copy())
with torch.no_grad():
    found = pj.load("{saved}", lambda: small(seed=5)).eval()(x)
assert found.numpy().tobytes() == open("{tmp_path}/expected", "rb").read()
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_loaded_model_trains_and_is_pruned_again(saved: Path) -> None:
    loaded = pj.load(saved, small)
    loaded(EXAMPLE).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loaded.parameters())
    again = pj.prune(loaded, EXAMPLE, budget="macs=0.7x", device="macs")
    assert again.report.budget[0].met


class Shaped(nn.Module):
    """Counts its channels in plain numbers that no cut can follow: the rewritten graph is what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.two(x * torch.ones(8)) if x.sum() > -1e9 else x


def test_load_brings_back_a_model_that_had_to_fall_back_to_its_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Shaped().eval(), torch.randn(4, 6)
    result = pj.prune(model, x, budget="macs=0.6x", device="macs")
    assert result.report.fallback
    saved = result.save(tmp_path / "run")
    assert (saved / "inputs.safetensors").is_file()
    loaded = pj.load(saved, Shaped)
    with torch.no_grad():
        assert torch.equal(result.model(x), loaded.eval()(x))


def test_load_refuses_another_architecture(saved: Path) -> None:
    for factory in (lambda: Small(width=8), lambda: nn.Linear(3, 3)):
        with pytest.raises(PenjingError) as caught:
            pj.load(saved, factory)
        assert caught.value.code in ("PJ206", "PJ605")


def test_load_refuses_a_factory_that_gives_no_module(saved: Path) -> None:
    with pytest.raises(PenjingError, match="PJ606"):
        pj.load(saved, lambda: None)


def test_load_refuses_what_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(PenjingError, match="PJ603"):
            pj.load(folder, small)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"form": "other"})])
def test_load_refuses_a_damaged_record(saved: Path, tmp_path: Path, content: str) -> None:
    copy = shutil.copytree(saved, tmp_path / "run")
    (copy / "surgery.json").write_text(content)
    with pytest.raises(PenjingError) as caught:
        pj.load(copy, small)
    assert caught.value.code in ("PJ206", "PJ606")
