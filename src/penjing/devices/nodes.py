"""Times of the single operators of an artifact while the whole of it runs, as ONNX Runtime records them."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from penjing.devices.feeds import Feeds
from penjing.devices.session import Session

Shape = tuple[int, ...]

_SUFFIX: Final = "_kernel_time"
LEAST_RUNS: Final = 12
"""Of a network, for the times of its operators."""


@dataclass(frozen=True)
class NodeTime:
    """One operator of the optimised graph, with all that the runtime fused into it.

    Attributes:
        name: the runtime's own.
        kind: its operator, e.g. `Conv` or `FusedConv`.
        inputs: shapes of its inputs.
        outputs: shapes of its outputs.
        ms: wall time of a run, the mean of the quicker third (whatever else the machine does only adds).
    """

    name: str
    kind: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    ms: float


def profile(
    path: Path, feeds: Feeds | None = None, *, threads: int = 1, seconds: float = 0.5
) -> list[NodeTime]:
    """Runs an artifact for `seconds` (at least 12 times) and returns what each operator took.

    Raises:
        PenjingError: PJ404 or PJ405, there is no such file, or ONNX Runtime refuses it.
    """
    return _read(record_events(path, feeds, threads=threads, seconds=seconds))


def record_events(path: Path, feeds: Feeds | None, *, threads: int, seconds: float) -> list[dict[str, Any]]:
    """Runs an artifact as above and returns the runtime's own record of it.

    Raises:
        PenjingError: PJ404 or PJ405, there is no such file, or ONNX Runtime refuses it.
    """
    with tempfile.TemporaryDirectory(prefix="penjing-profile-") as scratch:
        session = Session(path, threads=threads, profile_prefix=Path(scratch) / "profile")
        job = session.job(session.random_feeds() if feeds is None else feeds)
        end = time.perf_counter() + seconds
        runs = 0
        while runs < LEAST_RUNS or time.perf_counter() < end:
            job()
            runs += 1
        events: list[dict[str, Any]] = json.loads(session.end_profile().read_text())
    return events


def _read(events: list[dict[str, Any]]) -> list[NodeTime]:
    """The nodes among a profile's events, in order of execution."""
    durations: dict[str, list[float]] = {}
    described: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            durations.setdefault(event["name"], []).append(event["dur"] / 1e3)
            described[event["name"]] = event["args"]
    return [
        NodeTime(
            name.removesuffix(_SUFFIX),
            described[name]["op_name"],
            _shapes(described[name]["input_type_shape"]),
            _shapes(described[name]["output_type_shape"]),
            quicker_third(times),
        )
        for name, times in durations.items()
    ]


def _shapes(described: list[Mapping[str, list[int]]]) -> tuple[Shape, ...]:
    return tuple(tuple(shape) for entry in described for shape in entry.values())


def quicker_third(times: list[float]) -> float:
    """The mean of the quicker third."""
    return statistics.fmean(sorted(times)[: max(1, len(times) // 3)])
