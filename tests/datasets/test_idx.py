from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from penjing.datasets import read_idx
from penjing.errors import PenjingError


def idx(values: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


shapes = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


@given(values=shapes.flatmap(lambda shape: arrays.arrays(np.uint8, shape)), packed=st.booleans())
def test_read_idx_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, packed: bool
) -> None:
    path = tmp_path_factory.mktemp("idx") / "any-name"
    path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    found = read_idx(path)
    assert found.dtype == torch.uint8
    assert found.shape == values.shape
    np.testing.assert_array_equal(found.numpy(), values)


@given(shape=shapes.filter(lambda shape: math.prod(shape) > 0), data=st.data())
def test_read_idx_refuses_every_truncation(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], data: st.DataObject
) -> None:
    whole = idx(np.zeros(shape, np.uint8))
    path = tmp_path_factory.mktemp("idx") / "cut"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(PenjingError, match=r"\[PJ35[01]\]"):
        read_idx(path)


def test_read_idx_result_may_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(np.ones((2, 2), np.uint8)))
    values = read_idx(path)
    values[0, 0] = 7
    assert values.tolist() == [[7, 1], [1, 1]]


def test_read_idx_states_shape_and_sizes_when_bytes_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(np.zeros((3, 2), np.uint8))[:-1])
    with pytest.raises(PenjingError) as caught:
        read_idx(path)
    assert str(caught.value) == (
        f"[PJ351] `{path}` is truncated\n"
        "  because  its header states (3, 2), 6 bytes, and 5 follow\n"
        "  try      fetch the file again"
    )


def test_read_idx_refuses_bytes_behind_the_end(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(np.zeros(3, np.uint8)) + b"x")
    with pytest.raises(PenjingError, match=r"\[PJ351\] .* is too long"):
        read_idx(path)


def test_read_idx_refuses_a_truncated_archive(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(np.arange(200, dtype=np.uint8)))[:-20])
    with pytest.raises(PenjingError, match=r"\[PJ351\] .* is truncated"):
        read_idx(path)


def test_read_idx_refuses_an_archive_with_a_flipped_bit(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(idx(np.arange(200, dtype=np.uint8))))
    whole[-6] ^= 1
    path = tmp_path / "images.gz"
    path.write_bytes(whole)
    with pytest.raises(PenjingError, match=r"\[PJ350\][^$]*damaged"):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "starts with"),
        (b"\0\0\x08", "starts with"),
        (b"\x89PNG\r\n\x1a\n", "starts with `89 50 4e 47`"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "element type is 0x0d"),
        (b"\0\0\x08\0", "states 0 dimensions"),
        (b"\0\0\x08\x03\0\0\0\x01", "states 3 dimensions in a file of 8 bytes"),
    ],
)
def test_read_idx_says_why_a_file_is_foreign(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(PenjingError, match=r"\[PJ350\]") as caught:
        read_idx(path)
    assert reason in caught.value.because


def test_read_idx_names_the_file_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"\[PJ350\] .*nothing-here") as caught:
        read_idx(tmp_path / "nothing-here")
    assert caught.value.because == "No such file or directory"
