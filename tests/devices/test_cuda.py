"""Devices on a GPU: what is said where there is none; and all that they do but for the GPU, on the CPU."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest
import torch

from penjing.devices import Cuda, Timed, TorchCuda, describe, get
from penjing.devices.gpu import gpus
from penjing.devices.session import CPU, CUDA, Session
from penjing.devices.single import convolution, linear
from penjing.errors import PenjingError
from penjing.network import Call
from penjing.testing import check_device
from tests.devices.models import image, residual

nowhere = pytest.mark.skipif(bool(gpus()), reason="there is a GPU")


@nowhere
@pytest.mark.parametrize("name", ["cuda", "torch-cuda"])
def test_without_a_gpu_nothing_else_is_run_and_no_package_is_promised_to_help(name: str) -> None:
    with pytest.raises(
        PenjingError, match=f"`{name}` needs an NVIDIA GPU with its driver, which is not here"
    ) as caught:
        get(name)
    assert caught.value.code == "PJ409"
    assert caught.value.tries[0].startswith("an NVIDIA GPU with its driver; there, ")
    row = next(row for row in describe() if row["name"] == name)
    assert (row["usable"], row["install"]) == (False, caught.value.tries[0])


@pytest.mark.parametrize(
    ("kind", "said"), [(Cuda, "onnxruntime-gpu"), (TorchCuda, "a PyTorch that reaches the GPU")]
)
def test_with_a_gpu_the_package_that_does_not_reach_it_is_named(
    kind: type[Timed], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if CUDA in onnxruntime.get_available_providers() or torch.cuda.is_available():
        pytest.skip("they do reach one")
    monkeypatch.setattr("penjing.devices.nvidia.gpus", lambda: ("A GPU",))
    assert kind.missing() == said
    assert not kind.installed()
    assert not kind.install().startswith("an NVIDIA GPU")


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="ONNX Runtime has CUDA")
def test_session_that_was_given_another_processor_is_refused() -> None:
    with pytest.raises(PenjingError, match=f"takes {CPU} for `the model`, and not {CUDA}") as caught:
        Session(linear(2, 3, 4).model, provider=CUDA)
    assert caught.value.code == "PJ409"


DRIVER = """
#include <stdio.h>
int cuInit(unsigned flags) { return %d; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { return snprintf(name, size, "GPU %%d", device) < 0; }
"""
"""A driver by the signatures of the CUDA driver API; `%d` is what its initialisation returns."""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
@pytest.mark.parametrize(("result", "found"), [(0, ("GPU 40", "GPU 41")), (100, ())])
def test_gpus_are_those_that_the_driver_names(result: int, found: tuple[str, ...], tmp_path: Path) -> None:
    source, library = tmp_path / "driver.c", tmp_path / f"driver-{result}.so"
    source.write_text(DRIVER % result)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert gpus(str(library)) == found


def test_without_a_driver_there_is_no_gpu(tmp_path: Path) -> None:
    assert gpus(str(tmp_path / "none.so")) == ()


def test_inputs_that_lie_where_it_computes_give_the_same_outputs() -> None:
    session = Session(convolution(3, 5, size=6, kernel=3).model)
    feeds = session.random_feeds()
    found = session.resident(feeds, "cpu")().copy_outputs_to_cpu()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, session.run(feeds))
    with pytest.raises(PenjingError, match="ONNX Runtime refuses") as caught:
        session.resident({"x": np.zeros((1, 3, 6, 7), np.float32)}, "cpu")
    assert caught.value.code == "PJ405"


@dataclass(frozen=True)
class RuntimeHere(Cuda):
    """ONNX Runtime, told to take the CPU for the GPU."""

    provider: ClassVar[str] = CPU
    place: ClassVar[str] = "cpu"
    hardware: ClassVar[str] = "this CPU"  # type: ignore[assignment]

    @classmethod
    def missing(cls) -> str:
        return ""


@dataclass(frozen=True)
class TorchHere(TorchCuda):
    """PyTorch likewise; waiting is counted, and takes a while."""

    place: ClassVar[str] = "cpu"
    hardware: ClassVar[str] = "this CPU"  # type: ignore[assignment]
    waits: ClassVar[list[bool]] = []
    pause_s: ClassVar[float] = 0.0

    @classmethod
    def missing(cls) -> str:
        return ""

    def _wait(self) -> None:
        self.waits.append(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
        time.sleep(self.pause_s)


@pytest.mark.parametrize("device", [RuntimeHere(), pytest.param(TorchHere(), marks=pytest.mark.slow)])
def test_all_but_the_gpu_conforms(device: Timed) -> None:
    found = check_device(device)
    assert found.provenance == "measured"


@pytest.mark.parametrize("device", [RuntimeHere(), TorchHere()])
def test_time_is_that_of_the_wall(device: Timed, tmp_path: Path) -> None:
    call = Call((image(),))
    artifact = device.export(residual(), call, tmp_path / f"model.{device.form}")
    for measured in device.measure([artifact.path] * 2, call=call, limit_s=0):
        assert (measured.basis, measured.latency_ms) == ("wall", measured.wall_ms)


def test_every_run_waits_for_the_gpu_and_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchHere, "waits", [])
    monkeypatch.setattr(TorchHere, "pause_s", 0.005)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    call = Call((image(),))
    artifact = TorchHere().export(residual(), call, tmp_path / "model.pt2")
    (measured,) = TorchHere().measure(artifact.path, call=call, limit_s=0)
    assert measured.latency_ms > 5
    assert len(TorchHere.waits) > measured.runs
    assert not any(TorchHere.waits)
    assert TorchHere()._time_singles([linear(1, 1, 1)])[0] > 0.005
    assert not any(TorchHere.waits)
    assert torch.backends.cudnn.allow_tf32
