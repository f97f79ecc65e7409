from __future__ import annotations

from pathlib import Path

import pytest
import torch

from penjing.errors import PenjingError
from penjing.run.checkpoint import Kept
from tests.run.test_room import room_for

TENSORS = {
    "weights": torch.randn(3, 4),
    "half": torch.randn(5).to(torch.bfloat16),
    "step": torch.tensor(7.0, dtype=torch.float64),
    "generator": torch.get_rng_state(),
    "nothing": torch.empty(0, 3),
    "transposed": torch.randn(3, 4).t(),
    "mask": torch.tensor([True, False]),
}
RECORD = {"epoch": 3, "best": 0.1 + 0.2, "history": [{"loss": None}]}


def test_there_is_nothing_before_it_is_written(tmp_path: Path) -> None:
    assert Kept(tmp_path / "a").read() is None
    assert not list(tmp_path.iterdir())


def test_what_is_read_is_what_was_written_last_bit_for_bit(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a")
    kept.write({"weights": torch.zeros(1)}, {})
    kept.write({**TENSORS, "shared": TENSORS["weights"]}, RECORD)
    found = Kept(tmp_path / "a").read()
    assert found is not None
    assert found.record == RECORD
    assert set(found.tensors) == {*TENSORS, "shared"}
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_the_one_before_stands_in_for_one_that_is_damaged_and_no_older_ones_are_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a")
    for number in range(12):
        kept.write({"n": torch.tensor(number)}, {"n": number})
    before, last = sorted((tmp_path / "a").iterdir())
    content = bytearray((last / "tensors.safetensors").read_bytes())
    content[-1] ^= 1
    (last / "tensors.safetensors").write_bytes(content)
    found = kept.read()
    assert found is not None
    assert (found.record, found.tensors["n"].item()) == ({"n": 10}, 10)
    kept.write({"n": torch.tensor(12)}, {"n": 12})
    (before / "record.json").unlink()
    assert Kept(tmp_path / "a").read().record == {"n": 12}


def test_without_room_the_one_before_stands(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a")
    kept.write({"n": torch.zeros(10)}, {"n": 0})
    with room_for(4_000), pytest.raises(PenjingError, match="PJ602"):
        kept.write({"n": torch.zeros(10_000)}, {"n": 1})
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["000000"]
    assert kept.read().record == {"n": 0}
