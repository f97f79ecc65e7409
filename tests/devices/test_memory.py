from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from penjing.devices import MemoryModel, measure_memory, to_onnx
from penjing.network import Call, trace
from tests.devices.models import Chain, image, residual

WORD = 4


def peak(module: nn.Module, x: Tensor, counts: dict[str, int] | None = None) -> int:
    return MemoryModel(trace(module.eval(), x)).bytes_at(counts or {})


def test_memory_of_a_chain_is_its_largest_pair_of_neighbours() -> None:
    chain = Chain(nn.Linear(10, 300), nn.Linear(300, 200), nn.Linear(200, 7))
    assert peak(chain, torch.randn(2, 10)) == WORD * 2 * (300 + 200)


def test_memory_counts_the_input() -> None:
    assert peak(Chain(nn.Linear(900, 5), nn.Linear(5, 5)), torch.randn(1, 900)) == WORD * (900 + 5)


def test_memory_holds_a_residual_across_its_branch() -> None:
    pixels = 256
    # While the outer convolution runs there are the residual (32), its input (48) and its output (32).
    assert peak(residual(), image()) == WORD * pixels * (32 + 48 + 32)
    assert peak(residual(), image(), {"stem.0": 10, "inner": 20}) == WORD * pixels * (10 + 20 + 10)


class Views(nn.Module):
    """Looks at one tensor in three ways."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        left, right = y.view(2, 2, 50).transpose(0, 1).chunk(2)
        return left * right


def test_memory_counts_what_views_look_at_once() -> None:
    assert peak(Views(), torch.randn(2, 100)) == WORD * 2 * (200 + 200) // 2


class Wide(nn.Module):
    """Doubles the bytes of an element."""

    def forward(self, x: Tensor) -> Tensor:
        return x.double() + 1


def test_memory_goes_by_the_type_of_each_tensor() -> None:
    assert peak(Wide(), torch.randn(1, 100)) == 100 * (8 + 8)


def test_memory_is_alike_whether_computed_or_measured(tmp_path: Path) -> None:
    """A chain of convolutions that the runtime cannot do with less for, at widths it need not pad."""
    chain = Chain(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 32, 3, padding=1), nn.Flatten()
    ).eval()
    x = torch.randn(1, 3, 32, 32)
    artifact = to_onnx(chain, Call((x,)), tmp_path / "model.onnx", free_batch=False)
    measured = measure_memory(artifact.path, Call((x,)))
    computed = MemoryModel(trace(chain, x)).figure({})
    assert (computed.provenance, measured.provenance) == ("analytic", "measured")
    assert computed.value == WORD * 1024 * (64 + 32)
    assert measured.value == pytest.approx(computed.value, rel=0.4)
