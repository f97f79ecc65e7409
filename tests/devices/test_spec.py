"""Devices with options, as text and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from penjing.devices import Cpu, Hls4ml, get
from penjing.devices.spec import check_kinds, joined, split
from penjing.errors import PenjingError

here = pytest.mark.skipif(not Hls4ml.installed(), reason="hls4ml is an extra, and needs a compiler")


@dataclass(frozen=True)
class Board:
    bits: int = 16
    clock_mhz: float = 200.0
    part: str = "x7"
    threads: int = 1


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("cpu", "cpu", {}),
        ("board:", "board", {}),
        ("board:bits=12", "board", {"bits": 12}),
        ("board: bits = 12 , clock_mhz=1e2,part=xc7z020-clg400-1", "board",
         {"bits": 12, "clock_mhz": 100.0, "part": "xc7z020-clg400-1"}),
    ],
)  # fmt: skip
def test_options_are_read(spec: str, name: str, options: dict[str, Any]) -> None:
    assert split(spec) == (name, options)


@pytest.mark.parametrize("board", [Board(), Board(bits=8), Board(clock_mhz=62.5, part="y"), Board(threads=4)])
def test_written_and_read_is_the_same(board: Board) -> None:
    name, options = split(joined("board", board))
    assert (name, Board(**options, threads=board.threads)) == ("board", board)


@pytest.mark.parametrize("text", ["cpu:threads", "cpu:=2", "cpu:threads="])
def test_option_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(PenjingError, match="no option") as caught:
        get(text)
    assert caught.value.code == "PJ406"


def test_devices_take_their_options_from_the_name() -> None:
    assert get("cpu:threads=2") == Cpu(threads=2)
    with pytest.raises(PenjingError, match="does not take") as caught:
        get("cpu:wings=2")
    assert caught.value.code == "PJ406"


@here
def test_a_design_is_found_again_by_its_own_text() -> None:
    design = Hls4ml(bits=12, multipliers=128)
    assert design.spec == "hls4ml:multipliers=128,bits=12"
    assert get(design.spec) == design
    assert Hls4ml().spec == "hls4ml"


def test_option_that_is_given_twice_is_refused() -> None:
    with pytest.raises(PenjingError, match="says twice what threads is") as caught:
        get("cpu:threads=2,threads=4")
    assert caught.value.code == "PJ406"


@pytest.mark.parametrize("threads", ["1.5", "two"])
def test_threads_are_counted_in_whole_numbers(threads: str) -> None:
    with pytest.raises(PenjingError, match=f"`cpu` cannot have threads={threads}") as caught:
        get(f"cpu:threads={threads}")
    assert (caught.value.code, caught.value.because) == ("PJ406", "it takes a whole number there")


def test_options_are_of_the_kind_that_the_device_takes() -> None:
    check_kinds(Board, "board", {"bits": 12, "clock_mhz": 100, "part": "x8", "unknown": 1})
    for wrong in ({"bits": 12.5}, {"bits": "x"}, {"clock_mhz": "fast"}, {"part": 5}, {"threads": True}):
        with pytest.raises(PenjingError, match="cannot have") as caught:
            check_kinds(Board, "board", wrong)
        assert caught.value.code == "PJ406"


def test_options_that_contradict_each_other_are_refused() -> None:
    assert get("cpu:threads=2", threads=2) == Cpu(threads=2)
    with pytest.raises(PenjingError, match="too") as caught:
        get("cpu:threads=2", threads=4)
    assert caught.value.code == "PJ406"


@pytest.mark.parametrize("spec", ["cpu:threads=1_0", "cpu:threads=10000000000000", "cpu:threads=inf"])
def test_numbers_that_cannot_be_are_refused(spec: str) -> None:
    with pytest.raises(PenjingError) as caught:
        get(spec)
    assert caught.value.code == "PJ406"


@here
@pytest.mark.parametrize("clock", [float("inf"), float("nan"), 0.0])
def test_a_design_has_a_clock(clock: float) -> None:
    with pytest.raises(PenjingError) as caught:
        get("hls4ml", clock_mhz=clock)
    assert caught.value.code == "PJ406"


def test_text_that_could_not_be_read_back_is_refused() -> None:
    with pytest.raises(PenjingError, match="cannot have part=a,b"):
        check_kinds(Board, "board", {"part": "a,b"})


@pytest.mark.parametrize("name", [None, 3, b"cpu"])
def test_what_is_no_name_is_no_device(name: Any) -> None:
    with pytest.raises(PenjingError) as caught:
        get(name)
    assert caught.value.code == "PJ401"
