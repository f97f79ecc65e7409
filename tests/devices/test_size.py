from __future__ import annotations

from pathlib import Path

import pytest

from penjing.devices import Figure, artifact_size
from penjing.errors import PenjingError


def test_size_counts_the_weights_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 10)
    assert artifact_size(path) == Figure("size", 10, "bytes", "measured")
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 100)
    (tmp_path / "other.onnx.data").write_bytes(b"x" * 1000)
    assert artifact_size(path).value == 110


def test_size_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"model\.onnx") as caught:
        artifact_size(tmp_path / "model.onnx")
    assert caught.value.code == "PJ404"
