from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.run.state import load_state, save_state


class Tied(nn.Module):
    """An embedding that is also the head, a view into a larger storage, and every kind of buffer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        both = torch.randn(2, 5)
        self.one, self.other = nn.Parameter(both[0]), nn.Parameter(both[1])
        self.turned = nn.Parameter(torch.randn(3, 4).t())
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("odd", torch.tensor([float("nan"), -0.0, float("inf"), 1e-45]))
        self.register_buffer("brief", torch.randn(3).to(torch.bfloat16))
        self.register_buffer("none", torch.empty(0, 3))
        self.register_buffer("flag", torch.tensor([True, False]))
        self.register_buffer("alias", self.flag)


def bits(tensor: Tensor) -> bytes:
    return (
        tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    )


def test_state_survives_bit_for_bit(tmp_path: Path) -> None:
    model, fresh = Tied(0), Tied(1)
    save_state(model, tmp_path / "model.safetensors")
    load_state(fresh, tmp_path / "model.safetensors")
    mine, theirs = model.state_dict(), fresh.state_dict()
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        assert bits(value.reshape(1) if value.ndim == 0 else value) == bits(
            theirs[name].reshape(1) if value.ndim == 0 else theirs[name]
        ), name
        assert value.dtype == theirs[name].dtype
    assert fresh.head.weight is fresh.embedding.weight


def test_state_holds_a_shared_tensor_once(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_state(Tied(), tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert len(names & {"embedding.weight", "head.weight"}) == 1
    assert {"one", "other"} <= names


def test_state_refuses_what_only_pickle_could_hold(tmp_path: Path) -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"a": object()}

        def set_extra_state(self, state: Any) -> None:
            pass

    with pytest.raises(PenjingError, match="PJ604"):
        save_state(Extra(2, 2), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "other", [nn.Linear(3, 3), nn.Linear(3, 2, bias=False), nn.Sequential(nn.Linear(3, 2))]
)
def test_state_refuses_another_model(tmp_path: Path, other: nn.Module) -> None:
    save_state(nn.Linear(3, 2), tmp_path / "model.safetensors")
    with pytest.raises(PenjingError) as caught:
        load_state(other, tmp_path / "model.safetensors")
    assert caught.value.code == "PJ605"


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0notjson!", b"\xff" * 64])
def test_state_refuses_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(PenjingError) as caught:
        load_state(nn.Linear(3, 2), tmp_path / "model.safetensors")
    assert caught.value.code == "PJ605"
