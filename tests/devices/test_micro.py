"""Microcontrollers: the arena is tflite-micro's own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import penjing as pj
from penjing.devices import Micro, get
from penjing.devices import device as device_module
from penjing.errors import PenjingError
from penjing.testing import check_device
from tests.api.models import patterns, small

here = pytest.mark.skipif(not Micro.installed(), reason="tflite-micro is an extra")

NAME = "cortex-m7-tflite-micro"


def arena(path: Path) -> int:
    """Asked of tflite-micro directly, on inputs that it has run."""
    code = (
        "import sys, numpy as np\n"
        "from tflite_micro import runtime\n"
        "i = runtime.Interpreter.from_file(sys.argv[1])\n"
        "d = i.get_input_details(0)\n"
        "i.set_input(np.zeros(d['shape'], d['dtype']), 0)\n"
        "i.invoke()\n"
        "i.print_allocations()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    found = re.search(r"Arena allocation total (\d+) bytes", done.stdout + done.stderr)
    assert found is not None
    return int(found[1])


@here
def test_budget_of_memory_is_met_by_the_interpreters_own_word(tmp_path: Path) -> None:
    x, folder = patterns(1)[0][0][:1], tmp_path / "run"
    result = pj.prune(small(), x, budget="memory=0.7x", device=NAME, directory=folder)
    (line,) = result.report.budget
    assert (line.met, line.provenance, line.error) == (True, "measured", None)
    assert arena(folder / "model.tflite") == result.report.after.peak_memory_bytes <= line.limit
    assert result.report.after.size_bytes == (folder / "model.tflite").stat().st_size


@here
def test_cycles_are_the_sheets_and_only_within(tmp_path: Path) -> None:
    result = pj.prune(small(), patterns(1)[0][0][:1], budget="cycles=0.6x", device=NAME)
    (line,) = result.report.budget
    assert (line.within, line.met, line.provenance) == (True, False, "analytic")
    after = result.report.after
    assert after.latency_ms is not None
    assert after.cycles == pytest.approx(after.latency_ms * 480e3)


@here
def test_device_keeps_its_word() -> None:
    assert check_device(get(NAME)).provenance == "analytic"


@here
def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model at all")
    with pytest.raises(PenjingError, match="tflite-micro refuses") as caught:
        get(NAME).figures(broken)
    assert caught.value.code == "PJ405"


def test_absent_interpreter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "find_spec", lambda name: None if name == "tflite_micro" else name)
    with pytest.raises(PenjingError, match="needs tflite-micro, which is not here") as caught:
        get(NAME)
    assert caught.value.code == "PJ409"
