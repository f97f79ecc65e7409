"""LiteRT and ExecuTorch as devices, where they are installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import penjing as pj
from penjing.devices import ExecuTorch, LiteRt, Timed
from penjing.errors import PenjingError
from penjing.network import Call
from penjing.testing import check_device
from tests.api.models import patterns, small
from tests.devices.test_tflite import images, network

DEVICES = (LiteRt, ExecuTorch)

HERE = [
    pytest.param(kind, marks=pytest.mark.skipif(not kind.installed(), reason=f"{kind.package} is an extra"))
    for kind in DEVICES
]


@pytest.mark.parametrize("kind", HERE)
def test_device_keeps_its_word(kind: type[Timed]) -> None:
    found = check_device(kind())
    assert found.provenance == "measured"


@pytest.mark.parametrize("kind", HERE)
def test_exported_file_agrees_with_the_module(kind: type[Timed], tmp_path: Path) -> None:
    artifact = kind().export(network(), Call((images(1),)), tmp_path / f"model.{kind.form}")
    assert artifact.agrees
    assert artifact.form == kind.form
    assert artifact.size_bytes == artifact.path.stat().st_size


@pytest.mark.parametrize("kind", HERE)
def test_operators_are_probed_with_layers_of_their_own(kind: type[Timed]) -> None:
    from penjing.devices.single import linear

    times = kind()._time_singles([linear(64, 64, 64), linear(64, 64, 1024)])
    assert 0 < 2 * times[0] < times[1]


@pytest.mark.parametrize("kind", HERE)
def test_run_ships_the_file_that_was_timed(kind: type[Timed], tmp_path: Path) -> None:
    x, folder = patterns(1)[0][0][:2], tmp_path / "run"
    result = pj.prune(small(), x, budget="macs=0.5x", device=kind.name, directory=folder)
    assert result.report.after.latency_ms is not None
    assert result.report.export.format == kind.form
    assert (folder / f"model.{kind.form}").is_file()
    assert not (folder / "model.onnx").exists()


def test_metric_is_that_of_the_shipped_litert_file(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    x, asked = patterns(1)[0][0][:2], []

    def evaluate(model: torch.nn.Module) -> float:
        asked.append(type(model).__name__)
        return float(model(patterns(1)[0][0][:3]).shape[0])

    result = pj.prune(small(), x, budget="macs=0.5x", device="litert", evaluate=evaluate)
    assert result.report.after.metric_of == "tflite"
    assert result.report.after.metric == 3.0
    assert set(asked) == {"Shipped"}


@pytest.mark.parametrize("kind", HERE)
def test_model_that_has_no_such_form_is_refused(kind: type[Timed], tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.sum() > 0:
                return x
            return 2 * x

    with pytest.raises(PenjingError, match="form") as caught:
        kind().export(Odd(), Call((torch.randn(2, 2),)), tmp_path / f"model.{kind.form}")
    assert caught.value.code == "PJ402"
