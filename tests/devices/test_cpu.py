from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from penjing.devices import Cpu, Measurement
from penjing.devices.fingerprint import Fingerprint
from penjing.devices.single import convolution
from penjing.errors import PenjingError
from penjing.network import Call


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = []
    for width in (4, 8):
        found.append(tmp_path / f"{width}.onnx")
        found[-1].write_bytes(convolution(4, width, size=8, kernel=3).model)
    return found


def test_measurements_taken_together_share_their_basis(paths: list[Path]) -> None:
    measured = Cpu().measure(paths, limit_s=0)
    assert len(measured) == 2
    assert len({measurement.basis for measurement in measured}) == 1
    for measurement in measured:
        assert measurement.latency_ms == getattr(measurement, f"{measurement.basis}_ms") > 0
        assert measurement.provenance == "measured"
        assert measurement.runs >= 3
        assert measurement.spread >= 0
        assert Measurement(**json.loads(json.dumps(measurement.record()))) == measurement
        assert measurement.figure.value == measurement.latency_ms


def test_comparison_is_read_by_one_clock_and_knows_the_quicker_one(paths: list[Path], tmp_path: Path) -> None:
    slow = tmp_path / "slow.onnx"
    slow.write_bytes(convolution(64, 64, size=32, kernel=3).model)
    quick, other = Cpu().compare(paths[0], slow, call=None)
    assert quick.basis == other.basis
    assert other.latency_ms > 2 * quick.latency_ms > 0
    assert min(quick.runs, other.runs) >= 5 * 6  # sessions, and what each times at least


def test_mean_of_measurements_goes_by_cpu_time_where_one_of_them_had_to() -> None:
    calm = Measurement(wall_ms=2.0, cpu_ms=1.9, latency_ms=2.0, basis="wall", runs=10, spread=0.01)
    busy = Measurement(wall_ms=9.0, cpu_ms=2.1, latency_ms=2.1, basis="cpu", runs=20, spread=0.02)
    both = Measurement.mean([calm, busy])
    assert (both.basis, both.runs) == ("cpu", 30)
    assert (both.wall_ms, both.cpu_ms, both.latency_ms) == (5.5, 2.0, 2.0)
    assert both.spread == pytest.approx(0.05)  # half the distance of 1.9 and 2.1, over 2
    assert Measurement.mean([calm]) == calm


def test_measurement_runs_on_the_inputs_of_the_call(paths: list[Path]) -> None:
    (measured,) = Cpu().measure(paths[0], call=Call((), {"x": torch.zeros(1, 4, 8, 8)}), limit_s=0)
    assert measured.latency_ms > 0
    with pytest.raises(PenjingError, match="ONNX Runtime refuses") as caught:
        Cpu().measure(paths[0], call=Call((), {"x": torch.zeros(1, 4, 8, 9)}), limit_s=0)
    assert caught.value.code == "PJ405"


def test_measurement_on_several_threads_goes_by_the_wall(paths: list[Path]) -> None:
    (measured,) = Cpu(threads=2).measure(paths[0], limit_s=0)
    assert measured.basis == "wall"


def test_measurement_names_the_artifact_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"absent\.onnx") as caught:
        Cpu().measure([tmp_path / "absent.onnx"])
    assert caught.value.code == "PJ404"


def test_measurement_gives_the_runtimes_words_for_a_damaged_artifact(tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"not a model at all")
    with pytest.raises(PenjingError, match=r"damaged\.onnx") as caught:
        Cpu().measure([path])
    assert caught.value.code == "PJ405"
    assert caught.value.because


@pytest.mark.parametrize("threads", [0, -1])
def test_cpu_refuses_a_number_of_threads_that_cannot_be(threads: int) -> None:
    with pytest.raises(PenjingError, match="threads") as caught:
        Cpu(threads=threads)
    assert caught.value.code == "PJ406"


def test_fingerprints_differ_by_whatever_a_measurement_depends_on() -> None:
    here = Cpu().fingerprint
    others = [
        Cpu(threads=2).fingerprint,
        Fingerprint("another cpu", here.runtime, here.threads),
        Fingerprint(here.cpu, "onnxruntime 0", here.threads),
        Fingerprint(here.cpu, here.runtime, here.threads, "bfloat16"),
    ]
    assert len({fingerprint.key() for fingerprint in (here, *others)}) == 5
    assert Cpu().fingerprint.key() == here.key()


def test_record_says_what_a_report_needs() -> None:
    record = Cpu(threads=2).record()
    assert record["name"] == "cpu"
    assert record["threads"] == 2
    assert record["runtime"].startswith("onnxruntime ")
    assert record["provenance"] == "measured"
    assert record["cpu"]
