"""Work on all cores, by copies of the process."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
import torch
from torch import nn

import penjing as pj
from penjing.devices import Cpu
from penjing.run import calibration
from penjing.run.bench import Bench
from penjing.run.journal import Journal
from penjing.run.progress import Log
from penjing.run.spread import _granted, cores, room_for, spread

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="copies are made on Linux alone")


@linux
def test_every_item_is_done_by_some_copy() -> None:
    class Local:  # no other process could import it
        def __init__(self, value: int) -> None:
            self.value = value

    found = dict(
        spread(
            lambda one: (one.value**2, os.getpid()), [Local(v) for v in range(7)], workers=2, patience_s=60
        )
    )
    assert {place: value for place, (value, _) in found.items()} == {place: place**2 for place in range(7)}
    used = {process for _, process in found.values()}
    assert len(used) == 2
    assert os.getpid() not in used


@linux
@pytest.mark.parametrize("way", ["raises", "is killed", "hangs"])
def test_what_a_copy_cannot_do_is_left_out_and_nothing_hangs(way: str) -> None:
    def done(item: int) -> int:
        if item == 3 and way == "raises":
            raise ValueError
        if item == 3 and way == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 3 and way == "hangs":
            time.sleep(600)
        return item

    found = dict(spread(done, range(6), workers=2, patience_s=1))
    # the copy that is lost takes the items after it along
    assert found == {place: place for place in ((0, 1, 2, 4, 5) if way == "raises" else (0, 1, 2, 4))}
    assert multiprocessing.active_children() == []


@linux
def test_copies_end_with_whoever_wanted_their_results() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        for _ in spread(lambda item: time.sleep(item), [0, 0, 600, 600], workers=2, patience_s=60):
            raise KeyboardInterrupt
    assert multiprocessing.active_children() == []


@linux
def test_copies_of_a_process_that_is_killed_end(tmp_path: Path) -> None:
    """They write more than a pipe holds, and nobody reads it any more."""
    code = f"""
import os, signal, sys, time
from penjing.run.spread import spread
def work(item):
    open({str(tmp_path)!r} + "/" + str(os.getpid()), "w").close()
    time.sleep(0.2)
    return "x" * 1_000_000
for _ in spread(work, range(8), workers=2, patience_s=60):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    copies = [int(path.name) for path in tmp_path.iterdir()]
    assert len(copies) == 2
    end = time.monotonic() + 30
    while any(Path(f"/proc/{copy}").exists() for copy in copies) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [copy for copy in copies if Path(f"/proc/{copy}").exists()]


def _in_a_pool(_: int) -> list[object]:
    return list(spread(str, [1, 2, 3], workers=2, patience_s=60))


@linux
def test_process_that_may_have_no_copies_does_all_by_itself() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(_in_a_pool, [0]) == [[]]


def test_one_worker_leaves_everything_to_the_caller() -> None:
    assert list(spread(str, [1, 2, 3], workers=1, patience_s=60)) == []
    assert list(spread(str, [1], workers=4, patience_s=60)) == []
    assert cores() >= 1


def test_memory_is_that_which_a_container_has(tmp_path: Path) -> None:
    assert room_for(2**62) == 0
    (tmp_path / "memory.current").write_text("300\n")
    for most, left in (("1000\n", 700), ("200\n", 0), ("max\n", math.inf)):
        (tmp_path / "memory.max").write_text(most)
        assert _granted(tmp_path) == left
    assert _granted(tmp_path / "none") == math.inf


@linux
def test_networks_exported_on_all_cores_are_those_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3)).eval()
    net = pj.trace(model, torch.randn(1, 3, 8, 8))
    chosen = [{}, *({net.prunable[0].name: width} for width in (4, 8, 12))]
    made, fewer = [], calibration.spread

    def counted(*given: object, **options: object) -> object:
        found = list(fewer(*given, **options))  # type: ignore[arg-type]
        made.append(len(found))
        return found

    monkeypatch.setattr(calibration, "spread", counted)
    files = []
    for count in (1, 2):
        monkeypatch.setattr(calibration, "cores", lambda count=count: count)
        folder = tmp_path / str(count)
        folder.mkdir()
        bench = Bench(net, Cpu(), Journal(folder, Log(StringIO()), durable=False))
        artifacts = calibration._exported(bench, chosen, lambda: None)
        files.append([artifact.path.read_bytes() for artifact in artifacts])
    assert made == [0, 3]
    assert files[0] == files[1]
    assert len(set(files[0])) == 4
