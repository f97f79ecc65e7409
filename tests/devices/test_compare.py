from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from penjing.devices.compare import agreement, apart
from penjing.devices.single import linear
from penjing.errors import PenjingError
from penjing.network import Call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear(2, 4, 3).model)
    return path


def _call() -> Call:
    return Call((), {"x": torch.randn(2, 4, generator=torch.Generator().manual_seed(0))})


def _output(path: Path) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": _call().kwargs["x"].numpy()})[0])


def test_agreement_is_relative_to_the_largest_output(path: Path) -> None:
    wanted = _output(path)
    wanted[0, 0] += 0.125
    assert agreement(path, _call(), {"y": wanted}) == pytest.approx(
        0.125 / float(wanted.abs().max()), rel=1e-6
    )
    assert agreement(path, _call(), {"y": _output(path)}) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_agreement_is_infinite_when_only_one_is_finite(path: Path, value: float) -> None:
    wanted = _output(path)
    wanted[0, 0] = value
    assert agreement(path, _call(), {"y": wanted}) == float("inf")


def test_agreement_is_infinite_when_shapes_differ(path: Path) -> None:
    assert agreement(path, _call(), {"y": _output(path).T}) == float("inf")


def test_agreement_needs_the_inputs_that_the_file_takes(path: Path) -> None:
    with pytest.raises(PenjingError, match="ONNX Runtime refuses") as caught:
        agreement(path, Call((torch.randn(2, 5),)), {"y": _output(path)})
    assert caught.value.code == "PJ405"


def test_a_large_output_hides_no_small_one() -> None:
    small, large, ids = np.array([1.0, -1.0]), np.array([1e4, 2e4]), np.array([10**9])
    assert apart([-small, large, ids], [small, large, ids]) == pytest.approx(2 / (0.01 * 2e4))
    assert apart([-small, ids], [small, ids]) == pytest.approx(2.0)
    assert apart([small, ids + 10**8], [small, ids]) == pytest.approx(0.1)


def test_what_is_left_of_a_sum_that_cancels_is_rounding() -> None:
    whole, left = np.array([1.0]), np.array([1e-8])
    assert apart([whole, 3 * left], [whole, left]) == pytest.approx(2e-6)
