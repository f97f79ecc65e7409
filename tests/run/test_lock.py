from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penjing.errors import PenjingError
from penjing.run.lock import locked

HOLDER = """
import os, sys, time
from pathlib import Path
from penjing.run.lock import locked
with locked(Path(sys.argv[1])):
    if sys.argv[2] == "worker" and os.fork() == 0:
        time.sleep(3)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def begun(folder: Path, pid: int, host: str | None = None) -> None:
    event = {"seconds": 0.0, "event": "begin", "pid": pid, "host": host or platform.node()}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n")


def holder(folder: Path, kind: str = "alone") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    begun(folder, process.pid)
    return process


def test_another_process_is_refused_and_told_by_whom_until_the_first_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(PenjingError) as caught, locked(tmp_path):
        pass
    assert caught.value.code == "PJ609"
    assert f"process {process.pid}" in caught.value.because
    process.kill()
    process.wait()
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are no copies of their process here")
def test_workers_that_outlive_their_process_for_a_moment_are_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path, "worker")
    process.kill()
    process.wait()
    start = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - start < 20


def test_no_process_is_named_that_is_none_of_this_machine(tmp_path: Path) -> None:
    begun(tmp_path, os.getpid(), "another")
    with locked(tmp_path), pytest.raises(PenjingError) as caught, locked(tmp_path):
        pass
    assert caught.value.because == ""
