"""Ethos-U by the Vela compiler, held against Vela's own output."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import penjing as pj
from penjing.devices import Cache, EthosU, get
from penjing.devices import device as device_module
from penjing.devices.tflite import to_tflite
from penjing.errors import PenjingError
from penjing.network import Call
from penjing.testing import check_device
from tests.api.models import patterns, small
from tests.devices.test_tflite import images, network

here = pytest.mark.skipif(not EthosU.installed(), reason="ethos-u-vela is an extra")


def asked(path: Path) -> str:
    """What the command `vela` itself prints."""
    command = [sys.executable, "-m", "ethosu.vela", str(path), "--accelerator-config", "ethos-u55-128"]
    options = [
        "--config", "Arm/vela.ini", "--system-config", "Ethos_U55_High_End_Embedded",
        "--memory-mode", "Shared_Sram", "--verbose-performance", "--output-dir", str(path.parent / "vela"),
    ]  # fmt: skip
    return subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout


@here
def test_figures_are_those_that_vela_prints(tmp_path: Path) -> None:
    device = EthosU()
    artifact = device.export(network(), Call((images(1),)), tmp_path / "model.tflite")
    said = asked(artifact.path)
    sram = re.search(r"Total SRAM used\s+([\d.]+) KiB", said)
    assert sram is not None
    assert device.figures(artifact.path)["memory"] == pytest.approx(1024 * float(sram[1]), abs=6)
    measured = device.measure(artifact.path)[0]
    (summary,) = (tmp_path / "vela").glob("*_summary_*.csv")
    names, values = (line.split(",") for line in summary.read_text().splitlines())
    said_s = float(dict(zip(names, values, strict=True))["inference_time"])
    assert measured.latency_ms == pytest.approx(1e3 * said_s, rel=1e-6)
    assert measured.provenance == "compiler"
    assert device.clock_hz == 500e6


@here
def test_device_keeps_its_word() -> None:
    assert check_device(EthosU()).provenance == "compiler"


@here
def test_steps_of_the_accelerator_are_read_off_compiled_operators(tmp_path: Path) -> None:
    stairs = EthosU().stairs(Cache(tmp_path))
    assert stairs.conv_out == 8  # a block of outputs of the U55-128
    assert stairs == EthosU().stairs(Cache(tmp_path))


@here
def test_file_in_float_runs_on_no_npu_and_is_refused_with_the_reason(tmp_path: Path) -> None:
    layer = torch.nn.Conv2d(3, 8, 3).eval()
    artifact = to_tflite(layer, Call((images(1),)), tmp_path / "model.tflite")
    with pytest.raises(PenjingError, match="the NPU runs no operator") as caught:
        EthosU().measure(artifact.path)
    assert caught.value.code == "PJ405"
    assert "Float32" in caught.value.because


@here
def test_operators_left_to_the_cpu_are_named(tmp_path: Path) -> None:
    class Wavy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.sin(self.first(x)))

    artifact = EthosU().export(Wavy().eval(), Call((images(1),)), tmp_path / "model.tflite")
    (note,) = [note for note in EthosU().remarks(artifact.path) if "CPU" in note]
    assert "SIN" in note


def test_unknown_accelerator_and_absent_compiler_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PenjingError, match="no accelerator `ethos-u99`") as caught:
        EthosU("ethos-u99")
    assert caught.value.code == "PJ406"
    monkeypatch.setattr(device_module, "find_spec", lambda name: None if name == "ethosu" else name)
    with pytest.raises(PenjingError, match="needs ethos-u-vela, which is not here") as caught:
        get("ethos-u55-128")
    assert caught.value.code == "PJ409"
    assert caught.value.tries[0] == 'pip install "penjing[ethos-u]"'


@here
def test_budget_of_sram_is_met_by_velas_own_word(tmp_path: Path) -> None:
    x, folder = patterns(1)[0][0][:1], tmp_path / "run"
    result = pj.prune(small(), x, budget="memory=0.7x", device="ethos-u55-128", directory=folder)
    (line,) = result.report.budget
    assert (line.met, line.provenance) == (True, "compiler")
    sram = re.search(r"Total SRAM used\s+([\d.]+) KiB", asked(folder / "model.tflite"))
    assert sram is not None
    assert 1024 * float(sram[1]) <= line.limit * (1 + 1e-3)
    assert result.report.after.peak_memory_bytes == pytest.approx(1024 * float(sram[1]), abs=6)


@here
@pytest.mark.slow
def test_budget_of_cycles_is_kept_and_called_an_estimate(tmp_path: Path) -> None:
    x = patterns(1)[0][0][:1]
    result = pj.prune(small(), x, budget="cycles=0.7x", device="ethos-u55-128")
    (line,) = result.report.budget
    assert (line.within, line.met, line.provenance) == (True, False, "compiler")
    assert line.error
    after = result.report.after
    assert after.latency_ms is not None
    assert after.cycles == pytest.approx(after.latency_ms * 500e3)
