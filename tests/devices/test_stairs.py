from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from penjing.devices import Cpu, Stairs
from penjing.devices.cache import Cache
from penjing.devices.single import Single
from penjing.devices.stairs import ceil_to, evenness, probe, step

WIDTHS = (36, 40, 44, 48, 52, 56, 64, 68, 76, 80)
ODD_WIDTHS = (33, 36, 40, 42, 48, 50, 52, 56, 64, 66)


@pytest.mark.parametrize("size", [4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(5))
def test_step_is_found_under_noise(size: int, seed: int) -> None:
    noise = random.Random(seed)
    widths = range(33, 97) if size == 4 else WIDTHS
    assert step(widths, [(20 + ceil_to(width, size)) * noise.uniform(0.99, 1.01) for width in widths]) == size


@pytest.mark.parametrize("seed", range(5))
def test_step_is_one_for_a_line(seed: int) -> None:
    noise = random.Random(seed)
    assert step(WIDTHS, [(20 + width) * noise.uniform(0.99, 1.01) for width in WIDTHS]) == 1


@pytest.mark.parametrize("size", [2, 4, 8, 16])
@pytest.mark.parametrize("seed", range(5))
def test_evenness_is_found_under_noise(size: int, seed: int) -> None:
    noise = random.Random(seed)
    times = [
        (20 + width) * (1.6 if width % size else 1.0) * noise.uniform(0.99, 1.01) for width in ODD_WIDTHS
    ]
    assert evenness(ODD_WIDTHS, times) == size


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", range(5))
def test_evenness_is_told_from_the_steps_of_padding(size: int, seed: int) -> None:
    noise = random.Random(seed)
    times = [
        (20 + (1.6 * width if width % size else ceil_to(width, 16))) * noise.uniform(0.99, 1.01)
        for width in ODD_WIDTHS
    ]
    assert evenness(ODD_WIDTHS, times, padding=16) == size


def test_evenness_is_one_when_odd_widths_are_cheaper() -> None:
    assert evenness(ODD_WIDTHS, [width * (0.5 if width % 4 else 1.0) for width in ODD_WIDTHS]) == 1


def _weights(single: Single) -> tuple[str, tuple[int, ...]]:
    graph = onnx.load_from_string(single.model).graph
    return graph.node[0].op_type, tuple(graph.initializer[0].dims)


def test_probe_reads_every_step_off_a_device_that_has_it() -> None:
    """The device is a formula over the shapes of the very models that would be timed."""
    wanted = Stairs(conv_out=8, conv_in=16, conv_even=4, depthwise_even=2, linear_out=32)

    def time_all(singles: Sequence[Single]) -> list[float]:
        return [one(*_weights(single)) for single in singles]

    def one(kind: str, shape: tuple[int, ...]) -> float:
        outs, ins = shape[:2]
        if kind == "Gemm":
            return 10.0 + ceil_to(outs, wanted.linear_out)
        if ins == 1:
            return (5.0 + outs) * (3.0 if outs % wanted.depthwise_even else 1.0)
        slow = 1.7 if ins % wanted.conv_even else 1.0
        return (500.0 + ceil_to(outs, wanted.conv_out) * ceil_to(ins, wanted.conv_in)) * slow

    assert probe(time_all) == wanted


def test_stairs_of_the_cpu_are_measured_once(tmp_path: Path) -> None:
    first = Cpu().stairs(Cache(tmp_path))
    (written,) = tmp_path.glob("stairs-*.json")
    written.write_text(written.read_text().replace(f'"conv_out": {first.conv_out}', '"conv_out": 77'))
    assert Cpu().stairs(Cache(tmp_path)).conv_out == 77
