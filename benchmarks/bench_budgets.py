"""How close to its budget a network comes out, and what a second look with another clock says of it.

    python benchmarks/bench_budgets.py [--only NAME ...] [--budget TEXT ...] [--fresh]

For each pair of a network and a budget the whole of `penjing.prune` is run, without recovery: it does not
change what a network costs. What counts is the figure in the report: inside, and at most 5 % below.
Latencies are then measured once more from the two files of the run, by this script's own loop. Results of
the same commit are kept and not measured again, unless --fresh.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from budget_networks import BUILDERS
from revision import commit

import penjing as pj
from penjing.devices import Cpu

RESULT = Path(__file__).parent / "results" / "budgets.json"

PAIRS: dict[str, tuple[str, ...]] = {
    "demo": ("latency=0.7x", "latency=0.5x", "latency=0.3x", "size=300KB", "memory=0.5x"),
    "resnet": ("latency=0.7x", "latency=0.5x", "latency=0.3x", "macs=0.4x"),
    "mobilenet": ("latency=0.7x", "latency=0.5x", "params=0.5x", "latency=0.6x,size=0.6x"),
    "vit": ("latency=0.7x", "latency=0.5x", "latency=0.3x"),
    "unet": ("latency=0.6x", "latency=0.35x", "macs=100M"),
    "recogniser": ("latency=0.7x", "latency=0.5x", "size=0.4x"),
    "bert": ("latency=0.7x", "latency=0.5x", "size=0.5x,latency=0.8x"),
    "llama": ("latency=0.6x", "latency=0.4x", "params=0.5x"),
}

BELOW = 0.05
"""Share of its limit that a result may stay below it."""


def second_look(before: Path, after: Path, *, seconds: float = 6.0) -> float:
    """Latency of `after` as a share of `before`: medians of CPU time, run in turns in fresh sessions."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(str(path), options) for path in (before, after)]
    draw = np.random.default_rng(0)
    feeds = {}
    for given in sessions[0].get_inputs():
        shape = [side if isinstance(side, int) else 1 for side in given.shape]
        feeds[given.name] = (
            draw.integers(0, 1000, shape)
            if given.type == "tensor(int64)"
            else draw.random(shape, dtype=np.float32)
        )
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for session, taken in zip(sessions, times, strict=True):
            start = time.thread_time()
            session.run(None, feeds)
            taken.append(time.thread_time() - start)
    return median(times[1][5:]) / median(times[0][5:])


def judge(name: str, budget: str) -> dict[str, Any]:
    """One pair: what was asked, what came out, and in how many seconds."""
    torch.manual_seed(0)
    model, inputs = BUILDERS[name]()
    start = time.perf_counter()
    result = pj.prune(model.eval(), inputs, budget=budget)
    seconds = time.perf_counter() - start
    lines = [line.model_dump() for line in result.report.budget]
    used = max(line["achieved"] / line["limit"] for line in lines)
    with tempfile.TemporaryDirectory() as scratch:
        run = result.save(Path(scratch) / "run")
        again = second_look(run / "original.onnx", run / "model.onnx") if "latency" in budget else None
    return {
        "budget": lines,
        "used": round(used, 4),
        "inside": used <= 1 and all(line["met"] for line in lines),
        "within_5_percent": 1 - BELOW <= used <= 1,
        "latency_again": again and round(again, 4),
        "measured_on_the_way": len(result.report.candidates),
        "proof": result.proof.max_error,
        "fallback": result.report.fallback,
        "seconds": round(seconds, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=PAIRS)
    parser.add_argument("--budget", nargs="*")
    parser.add_argument("--fresh", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(RESULT.read_text())["pairs"] if RESULT.exists() else {}
    for name, budgets in PAIRS.items():
        for budget in budgets:
            key, now = f"{name} {budget}", commit()
            unasked = (given.only and name not in given.only) or (given.budget and budget not in given.budget)
            if unasked or (not given.fresh and found.get(key, {}).get("commit") == now):
                continue
            try:
                row = judge(name, budget)
            except pj.PenjingError as error:
                row = {"error": str(error), "inside": False, "within_5_percent": False}
            found[key] = {"date": str(date.today()), "commit": now, **row}
            print(key, json.dumps(row), flush=True)
            keep(found)
    good = sum(row["within_5_percent"] for row in found.values())
    print(f"{good} of {len(found)} inside and at most 5 % below")
    return 0 if good >= 0.9 * len(found) else 1


def keep(pairs: dict[str, Any]) -> None:
    """Writes what is known so far."""
    record = {
        "command": "python benchmarks/bench_budgets.py",
        "device": Cpu().record(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pairs": pairs,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
