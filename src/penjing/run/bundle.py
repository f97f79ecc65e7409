"""A folder of networks to be timed on a device elsewhere, and the way back from what it measured."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from inspect import getfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import nn

from penjing.devices import clock, processor, to_onnx
from penjing.devices.carried import Calibration, Timed
from penjing.devices.clock import BUSY
from penjing.devices.costs import signature
from penjing.devices.feeds import feeds
from penjing.devices.remote import carry, runner
from penjing.devices.single import Single
from penjing.devices.stairs import Stairs, probe
from penjing.devices.widths import alignments, sample
from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.plan import Plan
from penjing.surgery import cut

NETWORKS: Final = 14
"""How many are carried, the original included: more than are measured here, where others follow later."""

_STEPS: Final = Stairs(conv_out=8, conv_in=8, linear_out=8)
"""Widths to vary in before the device's own are known."""

_WHOLE: Final = {"limit_s": 60.0, "warm": False}
_SINGLE: Final = {"spread": 0.03, "limit_s": 2.0, "turn_s": 0.005, "least_turns": 6}
_TABLE: Final = "bundle.json"


def write_bundle(
    model: nn.Module, example_inputs: Any, folder: Path, *, threads: int = 1, seed: int = 0
) -> list[str]:
    """Writes networks of several widths, single operators, and what times them, into a new folder.

    Args:
        model: as for `prune`; left as it was.
        example_inputs: as the model is called.
        folder: must not exist yet, or be empty.
        threads: for the runtime there.
        seed: of the widths.

    Returns:
        Names of the files that are to be timed.

    Raises:
        PenjingError: PJ413, there is something in the folder; the model cannot be traced or exported.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PenjingError(
            "PJ413",
            f"`{folder}` is there already",
            because="a bundle of networks goes into a folder of its own",
            tries=["another folder", f"rm -r {folder}"],
        )
    net = trace(model, example_inputs)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _written(net, folder, threads, seed)
    except BaseException:  # half a bundle would be carried in vain
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _written(net: Network, folder: Path, threads: int, seed: int) -> list[str]:
    chosen = sample(net, alignments(net, _STEPS), networks=NETWORKS, odd=True, seed=seed)
    whole = {f"network-{place:02}.onnx": counts for place, counts in enumerate(chosen)}
    for name, counts in whole.items():
        kept = {axis: tuple(range(count)) for axis, count in counts.items()}
        made = cut(net, Plan(kept=kept)).model if counts else net.model
        to_onnx(made, net.call, folder / name, free_batch=False)
    singles = _singles()
    for name, single in (pair for group in singles for pair in group.items()):
        (folder / name).write_bytes(single.model)
    of, names = signature(net), [*whole, *(name for group in singles for name in group)]
    bundle = hashlib.sha256(json.dumps([of, threads, chosen]).encode()).hexdigest()[:16]
    groups = [
        {"files": [*whole], "inputs": True, "beside": True, "options": _WHOLE},
        *({"files": [*group], "inputs": False, "beside": False, "options": _SINGLE} for group in singles),
    ]
    job = {"bundle": bundle, "threads": threads, "groups": groups}
    (folder / "job.json").write_text(json.dumps(job) + "\n", encoding="utf-8")
    np.savez(folder / "inputs.npz", **feeds(net.call))  # type: ignore[arg-type]
    for module in (clock, processor, runner, carry):
        shutil.copyfile(getfile(module), folder / Path(getfile(module)).name)
    (folder / "networks.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    table = {
        "bundle": bundle,
        "model": type(net.model).__name__,
        "network": of,
        "threads": threads,
        "networks": whole,
    }
    (folder / _TABLE).write_text(json.dumps(table) + "\n", encoding="utf-8")
    return names


def read_measurements(folder: Path, measured: Path, name: str) -> Calibration:
    """What the networks of a bundle took on the device that they were carried to.

    Args:
        folder: of the bundle, as it was written here.
        measured: the CSV file that came back: `file` and `latency_ms`, and whatever else `carry.py` writes.
        name: for the device.

    Raises:
        PenjingError: PJ413, there is no such bundle; PJ414, the measurements are no such file, of another
            bundle, of more than one machine, incomplete, or no positive numbers.
    """
    try:
        table = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PenjingError(
            "PJ413",
            f"`{folder}` is no bundle of networks",
            because=str(error),
            tries=["penjing calibrate MODEL --bundle FOLDER"],
        ) from error
    rows = _rows(measured, table["bundle"])
    singles = _singles()
    wanted = [*table["networks"], *(one for group in singles for one in group)]
    if missing := [one for one in wanted if one not in rows]:
        raise _unread(
            measured, f"{len(missing)} of {len(wanted)} files are not in it, `{missing[0]}` the first of them"
        )
    threads = int(table["threads"])
    times = _times(measured, {one: rows[one] for one in wanted}, threads)
    groups = iter(singles)
    first = rows[wanted[0]]
    return Calibration(
        name=name,
        model=table["model"],
        network=table["network"],
        cpu=first.get("cpu") or "a device that did not tell its name",
        runtime=first.get("runtime") or "another runtime",
        threads=threads,
        stairs=probe(lambda _: [times[one] for one in next(groups)]).record(),
        networks=tuple(Timed(counts=counts, ms=times[one]) for one, counts in table["networks"].items()),
        date=str(date.today()),
    )


def _singles() -> list[dict[str, Single]]:
    """The operators that stairs are read off, as `probe` asks for them, by the names of their files."""
    asked: list[dict[str, Single]] = []

    def note(singles: Sequence[Single]) -> list[float]:
        group = len(asked)
        asked.append({f"single-{group}-{place:02}.onnx": one for place, one in enumerate(singles)})
        return [1.0] * len(singles)

    probe(note)
    return asked


def _rows(measured: Path, bundle: str) -> dict[str, dict[str, str]]:
    """The lines of the file by the name of what was timed."""
    try:
        with measured.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unread(measured, str(error)) from error
    if not lines or not {"file", "latency_ms"} <= set(lines[0]):
        raise _unread(measured, "its first line does not name `file` and `latency_ms`")
    others = {line["bundle"] for line in lines if line.get("bundle")} - {bundle}
    if others:
        raise _unread(measured, f"it is of another bundle, `{sorted(others)[0]}`; this one is `{bundle}`")
    machines = {(line.get("cpu"), line.get("runtime"), line.get("threads")) for line in lines}
    if len(machines) > 1:
        raise _unread(measured, f"its lines come from {len(machines)} machines or runtimes")
    return {line["file"]: line for line in lines}


def _times(measured: Path, rows: Mapping[str, Mapping[str, str]], threads: int) -> dict[str, float]:
    """What the files took, all by one clock: wall, or of one thread on a busy machine the processor's."""
    wall = {name: _number(measured, name, row["latency_ms"]) for name, row in rows.items()}
    if threads > 1 or not all(row.get("cpu_ms") for row in rows.values()):
        return wall
    cpu = {name: _number(measured, name, row["cpu_ms"]) for name, row in rows.items()}
    return cpu if any(wall[name] > BUSY * cpu[name] for name in rows) else wall


def _number(measured: Path, name: str, text: str) -> float:
    try:
        ms = float(text)
    except (TypeError, ValueError) as error:
        raise _unread(measured, f"`{name}`: {error}") from error
    if not 0 < ms < float("inf"):
        raise _unread(measured, f"`{name}` takes {text} ms")
    return ms


def _unread(measured: Path, because: str) -> PenjingError:
    return PenjingError(
        "PJ414",
        f"`{measured}` does not hold the measurements of this bundle",
        because=because,
        tries=["python3 carry.py, in the folder on the device", "docs/how-to/measure-elsewhere.md"],
    )
