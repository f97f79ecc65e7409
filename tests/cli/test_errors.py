"""Every bad input: one error in the agreed form, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penjing.cli import main

ROOT = Path(__file__).parents[2]
GOOD = "FOLDER/good.py:task"
MACS = ["--device", "macs"]
PRUNE = ["--budget", "macs=0.5x", *MACS]

# (arguments behind `prune`; FOLDER and RUN are replaced), code, what the text says.
BAD: dict[str, tuple[list[str], str, str]] = {
    "an impossible budget": ([GOOD, "--budget", "macs=0.001x", *MACS], "PJ503", "smallest reachable"),
    "a pattern that matches nothing": ([GOOD, *PRUNE, "--keep", "steam"], "PJ505", "stem"),
    "a model that cannot be run": (["FOLDER/good.py:stubborn", *PRUNE], "PJ102", "good.py:"),
    "weights that are NaN": (["FOLDER/good.py:nan", *PRUNE], "PJ104", "weight"),
    "wrong example inputs": (["FOLDER/good.py:wrong_inputs", *PRUNE], "PJ102", "2, 5"),
    "an unknown device": ([GOOD, "--budget", "macs=0.5x", "--device", "tpu"], "PJ401", "cpu"),
    "an unknown criterion": ([GOOD, *PRUNE, "--criterion", "taylr"], "PJ301", "taylor"),
    "a criterion without data": (["FOLDER/good.py:bare", *PRUNE, "--criterion", "taylor"], "PJ302", "data"),
    "epochs without data": (["FOLDER/good.py:bare", *PRUNE, "--epochs", "2"], "PJ311", "train"),
    "a negative number of epochs": ([GOOD, *PRUNE, "--epochs", "-1"], "PJ313", "epochs"),
    "an unknown loss": ([GOOD, *PRUNE, "--loss", "labels"], "PJ313", "label+teacher"),
    "an unknown quantity": ([GOOD, "--budget", "latncy=0.5x"], "PJ501", "latency"),
    "a budget without a number": ([GOOD, "--budget", "latency=fast"], "PJ502", "latency=fast"),
    "a negative budget": ([GOOD, "--budget", "macs=-3M"], "PJ502", "macs=-3M"),
    "a latency on a device without clock": ([GOOD, "--budget", "latency=0.5x", *MACS], "PJ510", "macs"),
    "an axis by hand that is not there": ([GOOD, *PRUNE, "--exact", "steam=3"], "PJ201", "stem"),
    "an axis by hand without a number": ([GOOD, *PRUNE, "--exact", "stem"], "PJ704", "AXIS=0.25"),
    "no such file": (["FOLDER/absent.py:task", *PRUNE], "PJ701", "absent.py"),
    "no such task": (["FOLDER/good.py:tsk", *PRUNE], "PJ703", "good.py:task"),
    "a file that is no Python": (["FOLDER/broken.py:task", *PRUNE], "PJ702", "broken.py:3"),
    "a file that fails": (["FOLDER/raising.py:task", *PRUNE], "PJ702", "raising.py:2"),
    "a task that fails": (["FOLDER/good.py:failing", *PRUNE], "PJ703", "ZeroDivisionError"),
    "a task that is none": (["FOLDER/good.py:no_task", *PRUNE], "PJ703", "Linear"),
    "a form of model that is not read": (["model.onnx", *PRUNE], "PJ105", ".onnx"),
    "no form of model": (["model", *PRUNE], "PJ105", "file.py:task"),
}  # fmt: skip


def filled(arguments: list[str], folder: Path) -> list[str]:
    return [argument.replace("FOLDER", str(folder)) for argument in arguments]


@pytest.mark.parametrize("name", BAD)
def test_prune_refuses(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, name: str) -> None:
    arguments, code, says = BAD[name]
    assert main(["prune", *filled(arguments, folder), "-o", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert re.match(rf"\[{code}\] \S", captured.err)
    assert says in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert all(re.match(r"\[PJ|  (because|path|try) |   {9}", line) for line in captured.err.splitlines())
    assert not list(tmp_path.iterdir())


def test_error_is_a_record_when_json_is_asked(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main(["inspect", f"{folder}/good.py:tsk", "--json"]) == 2
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["code"] == "PJ703"
    assert set(found) == {"code", "what", "because", "path", "tries"}
    assert captured.err == ""


@pytest.mark.parametrize("command", ["prune", "demo"])
def test_a_directory_that_is_not_empty_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "mine").write_text("mine")
    model = [] if command == "demo" else ["absent.py:task", *PRUNE]
    assert main([command, *model, "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("[PJ601]")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="a file system that even the superuser cannot write"
)
@pytest.mark.parametrize("command", ["prune", "demo"])
def test_a_directory_that_cannot_be_written_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    model = [] if command == "demo" else ["absent.py:task", *PRUNE]
    assert main([command, *model, "-o", "/proc/run"]) == 2
    assert capsys.readouterr().err.startswith("[PJ602]")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["report", "FOLDER"], "PJ603"),
        (["report", "FOLDER/absent"], "PJ603"),
        (["export", "FOLDER"], "PJ603"),
        (["export", "FOLDER", "--to", "exe"], "PJ607"),
        (["inspect", "FOLDER/good.py:stubborn"], "PJ102"),
        (["profile", "FOLDER/good.py:task", "--device", "tpu"], "PJ401"),
        (["profile", "FOLDER/good.py:task", "--threads", "0"], "PJ406"),
    ],
    ids=str,
)
def test_other_commands_refuse(
    capsys: pytest.CaptureFixture[str], folder: Path, arguments: list[str], code: str
) -> None:
    assert main(filled(arguments, folder)) == 2
    assert capsys.readouterr().err.startswith(f"[{code}]")


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}', "[1]"])
def test_report_refuses_a_damaged_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "report.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("[PJ606]")


@pytest.mark.parametrize(
    "arguments", [["prune"], ["nothing"], ["inspect", "a", "--nothing"], ["prune", "a", "--seed", "x"]]
)
def test_usage_that_is_wrong_exits_with_2_and_no_traceback(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "Usage" in captured.err


def started(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "penjing", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_process_exits_with_2_and_no_traceback(folder: Path, tmp_path: Path) -> None:
    process = started("prune", f"{folder}/good.py:nan", *PRUNE, "-o", str(tmp_path / "run"))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("[PJ104]")
    assert "Traceback" not in err


def test_process_stopped_by_the_user_exits_with_130_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    process = started("prune", f"{folder}/good.py:slow", *PRUNE, "-o", str(tmp_path / "run"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
