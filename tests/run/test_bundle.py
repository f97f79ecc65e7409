"""Networks carried elsewhere: what is timed there becomes a device here."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch
from torch import nn

import penjing as pj
from penjing.cli import main
from penjing.devices import Carried, Stairs, get
from penjing.devices.carried import Calibration
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.run.bench import Bench
from penjing.run.bundle import NETWORKS, read_measurements, write_bundle
from penjing.run.journal import Journal
from penjing.run.progress import Log
from penjing.surgery import cut
from penjing.testing import check_device
from tests.api.models import patterns, small
from tests.devices.models import image, residual

INPUTS = patterns(1)[0][0][:1]
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("carried") / "bundle"
    files = write_bundle(small(), INPUTS, folder)
    assert len(files) == NETWORKS + 50
    return folder


def invented(bundle: Path, net: Network | None = None) -> Rows:
    """Times of a device that takes a nanosecond an operation, and works in steps of sixteen outputs."""
    net = net or pj.trace(small(), INPUTS)
    table = json.loads((bundle / "bundle.json").read_text())
    rows = [
        {"file": name, "latency_ms": str(1e-6 * net.macs_at(counts) + 0.01)}
        for name, counts in table["networks"].items()
    ]
    names = [name for name in (bundle / "networks.txt").read_text().split() if name.startswith("single")]
    for name in names:
        group, place = (int(part) for part in name.removesuffix(".onnx").split("-")[1:])
        width = (36, 40, 44, 48, 52, 56, 64, 68, 76, 80)[place]
        stepped = -(-width // 16) * 16 if group == 0 else width
        rows.append({"file": name, "latency_ms": str(0.01 * stepped)})
    return rows


def written(rows: Rows, path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_times_written_by_hand_become_a_device_that_predicts_them(bundle: Path, tmp_path: Path) -> None:
    found = read_measurements(bundle, written(invented(bundle), tmp_path / "m.csv"), "board")
    assert Stairs(**found.stairs).conv_out == 16
    path = tmp_path / "board.json"
    path.write_text(found.model_dump_json())
    device = get(str(path))
    assert isinstance(device, Carried)
    net: Network = pj.trace(small(), INPUTS)
    estimate = device.estimate(net)
    counts = {axis.name: max(1, axis.size // 2) for axis in net.prunable}
    for asked in ({}, counts):
        assert estimate.total("latency", asked) == pytest.approx(1e-6 * net.macs_at(asked) + 0.01, rel=0.1)
    parts = sum(estimate.operator("latency", operator, counts) for operator in net.operators)
    assert parts == pytest.approx(estimate.total("latency", counts))
    assert check_device(device).provenance == "analytic"


def test_network_is_pruned_for_it_and_the_figure_is_called_an_estimate(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(
        read_measurements(bundle, written(invented(bundle), tmp_path / "m.csv"), "board").model_dump_json()
    )
    result = pj.prune(small(), INPUTS, budget="latency=0.5x", device=str(path), directory=tmp_path / "run")
    (line,) = result.report.budget
    assert (line.within, line.met, line.provenance) == (True, False, "analytic")
    assert line.error
    assert 'device = "' + str(path) in (tmp_path / "run" / "recipe.toml").read_text()
    with pytest.raises(PenjingError, match="measured for another network") as caught:
        pj.prune(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.zeros(1, 4), budget="latency=0.5x",
                 device=str(path))  # fmt: skip
    assert caught.value.code == "PJ412"


@pytest.mark.slow
def test_branch_that_goes_is_priced_by_the_networks_that_were_timed(tmp_path: Path) -> None:
    model, x = residual(), image()
    write_bundle(model, x, tmp_path / "bundle")
    net = pj.trace(model, x)
    rows = invented(tmp_path / "bundle", net)
    found = read_measurements(tmp_path / "bundle", written(rows, tmp_path / "m.csv"), "board")
    (tmp_path / "board.json").write_text(found.model_dump_json())
    bench = Bench(net, get(str(tmp_path / "board.json")), Journal(tmp_path, Log(StringIO()), durable=False))
    plan = pj.Plan(dropped=(net.branches[0].name,))
    amounts = bench.exact_of(cut(net, plan).model, plan)
    whole = bench.exact({})
    assert amounts["latency"] < whole["latency"]
    assert amounts["macs"] < whole["macs"]


def test_all_files_are_read_by_one_clock(bundle: Path, tmp_path: Path) -> None:
    rows = [{**row, "cpu_ms": row["latency_ms"]} for row in invented(bundle)]
    quiet = read_measurements(bundle, written(rows, tmp_path / "quiet.csv"), "board")
    rows[0]["latency_ms"] = str(10 * float(rows[0]["latency_ms"]))
    for row in rows[1:]:
        row["latency_ms"] = str(1.1 * float(row["latency_ms"]))
    busy = read_measurements(bundle, written(rows, tmp_path / "busy.csv"), "board")
    assert busy.networks == quiet.networks


@pytest.mark.slow
def test_folder_times_itself_without_penjing(bundle: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    shutil.copytree(bundle, there)
    run = "import runpy; runpy.run_path('carry.py', run_name='__main__')"
    code = f"import sys; sys.modules['penjing'] = None; {run}"
    subprocess.run([sys.executable, "-c", code], cwd=there, check=True, capture_output=True, text=True)
    found = read_measurements(bundle, there / "measurements.csv", "here")
    assert found.runtime.startswith("onnxruntime ")
    assert len(found.networks) == NETWORKS
    assert all(one.ms > 0 for one in found.networks)


Spoil = Callable[[Rows], Rows]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "a file is missing": (lambda rows: rows[:3] + rows[4:], "1 of 64 files are not in it"),
    "a negative time": (lambda rows: [{**rows[0], "latency_ms": "-1"}, *rows[1:]], "takes -1 ms"),
    "no number": (lambda rows: [{**rows[0], "latency_ms": "fast"}, *rows[1:]], "could not convert"),
    "another bundle": (lambda rows: [{**row, "bundle": "beef"} for row in rows], "of another bundle, `beef`"),
    "two machines": (
        lambda rows: [{**row, "cpu": str(place % 2)} for place, row in enumerate(rows)],
        "come from 2 machines",
    ),
    "other columns": (lambda rows: [{"name": row["file"]} for row in rows], "does not name `file`"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_measurements_that_do_not_belong_are_refused(what: str, bundle: Path, tmp_path: Path) -> None:
    spoil, because = SPOILT[what]
    with pytest.raises(PenjingError, match="does not hold the measurements") as caught:
        read_measurements(bundle, written(spoil(invented(bundle)), tmp_path / "m.csv"), "board")
    assert caught.value.code == "PJ414"
    assert because in caught.value.because


def test_nothing_is_written_over(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(PenjingError) as caught:
        write_bundle(small(), INPUTS, bundle)
    assert caught.value.code == "PJ413"
    with pytest.raises(PenjingError, match="is no bundle") as caught:
        read_measurements(tmp_path, tmp_path / "m.csv", "board")
    assert caught.value.code == "PJ413"


def test_file_of_another_kind_is_no_device(tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text('{"kind": "something else"}')
    with pytest.raises(PenjingError, match="is no calibration") as caught:
        get(str(path))
    assert caught.value.code == "PJ412"
    with pytest.raises(PenjingError):
        get(str(tmp_path / "none.json"))


def test_command_writes_a_bundle_and_reads_what_came_back(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tmp_path / "task.py"
    task.write_text(
        "import penjing as pj\nfrom tests.api.models import patterns, small\n"
        "def task():\n    return pj.Task(model=small(), example_inputs=patterns(1)[0][0][:1])\n"
    )
    folder, board = tmp_path / "new", tmp_path / "board.json"
    assert main(["calibrate", f"{task}:task", "--bundle", str(folder)]) == 0
    assert "64 files" in capsys.readouterr().out
    assert (folder / "carry.py").is_file()
    measured = written(invented(bundle), tmp_path / "m.csv")
    given = ["calibrate", f"{task}:task", "--bundle", str(folder), "--measured", str(measured)]
    assert main([*given, "--name", "board", "-o", str(board)]) == 0
    assert Calibration.model_validate_json(board.read_text()).name == "board"
    assert main([*given, "--name", "board", "-o", str(board)]) == 2
