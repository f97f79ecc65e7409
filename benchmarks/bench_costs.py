"""How well the latency of networks of other widths is predicted, and how long it takes to learn that.

    python benchmarks/bench_costs.py [--networks 12] [--held 16] [--only NAME ...]

For each network: a cost model is calibrated from nothing; then networks of other random widths, aligned and
not, are cut, exported and measured together with the original, and compared with what the model, and the
number of multiply-accumulates, say of them. Errors are relative, of latency as a share of the original's.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cost_networks import networks
from revision import commit

from penjing.devices import Cache, CostModel, Cpu, to_onnx
from penjing.devices.widths import sample
from penjing.network import Network, trace
from penjing.plan import Plan
from penjing.surgery import cut

RESULT = Path(__file__).parent / "results" / "costs.json"


class Builder:
    """Cuts the first units of each axis away and exports what is left."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.net, self.folder = net, folder
        self.number, self.seconds = 0, 0.0

    def __call__(self, chosen: Sequence[Mapping[str, int]]) -> list[Path]:
        return [self.one(counts) for counts in chosen]

    def one(self, counts: Mapping[str, int]) -> Path:
        start = time.perf_counter()
        kept = {name: tuple(range(count)) for name, count in counts.items()}
        model = cut(self.net, Plan(kept=kept)).model if counts else self.net.model
        self.number += 1
        path = self.folder / f"{self.number}.onnx"
        to_onnx(model, self.net.call, path, free_batch=False)
        self.seconds += time.perf_counter() - start
        return path


def errors(predicted: Sequence[float], measured: Sequence[float]) -> list[float]:
    """Relative errors of the shares of the first, which is the original."""
    shares = zip(predicted[1:], measured[1:], strict=True)
    return [abs(guess / predicted[0] / (ms / measured[0]) - 1) for guess, ms in shares]


def summary(found: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(found), 4), "worst": round(max(found), 4)}


def judge(net: Network, calibration: int, held: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        builder, device, cache = Builder(net, folder), Cpu(), Cache(folder / "cache")
        start = time.perf_counter()
        device.stairs(cache)
        probing = time.perf_counter() - start
        start = time.perf_counter()
        model = CostModel.calibrate(net, device, builder, networks=calibration, cache=cache)
        calibrating, building = time.perf_counter() - start, builder.seconds
        left_out = {"median": round(model.error.median, 4), "worst": round(model.error.worst, 4)}
        start = time.perf_counter()
        CostModel.calibrate(net, device, builder, networks=calibration, cache=cache)
        cached = time.perf_counter() - start
        steps = {axis.name: model.alignment(axis.name) for axis in net.axes if axis.frozen is None}
        chosen = sample(net, steps, networks=held + 1, odd=True, seed=1)
        original, *others = builder(chosen)
        measured = device.beside(original, others, call=net.call, limit_s=90)
        times = [measurement.cpu_ms for measurement in measured]
        start = time.perf_counter()
        predicted = [model.latency_ms(counts) for counts in chosen]
        first = (time.perf_counter() - start) / len(chosen)
        start = time.perf_counter()
        for counts in chosen:
            model.latency_ms(counts)
        again = (time.perf_counter() - start) / len(chosen)
        found = errors(predicted, times)
        even = [
            error
            for error, counts in zip(found, chosen[1:], strict=True)
            if all(count % steps[name] == 0 or count == net.axis(name).size for name, count in counts.items())
        ]
        model.update(list(zip(chosen[1::2], times[1::2], strict=True)))
        updated = errors(
            [model.latency_ms(counts) for counts in [{}, *chosen[2::2]]], [times[0], *times[2::2]]
        )
        return {
            "original_ms": round(times[0], 4),
            "operators": len(net.operators),
            "axes": len(steps),
            "networks": {"calibration": calibration, "held_out": held, "of_these_aligned": len(even)},
            "left_out_of_calibration": left_out,
            "held_out": summary(found),
            "held_out_aligned": summary(even),
            "held_out_after_update": summary(updated),
            "held_out_by_macs": summary(errors([net.macs_at(counts) for counts in chosen], times)),
            "seconds": {
                "probing": round(probing, 2),
                "building": round(building, 2),
                "timing_and_fitting": round(calibrating - building, 2),
                "from_cache": round(cached, 2),
            },
            "prediction_us": {"first": round(first * 1e6, 1), "again": round(again * 1e6, 1)},
            "spread": round(max(measurement.spread for measurement in measured), 4),
        }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--networks", type=int, default=12)
    arguments.add_argument("--held", type=int, default=16)
    arguments.add_argument("--only", nargs="*")
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for name, (model, example) in networks().items():
        if not given.only or name in given.only:
            found = judge(trace(model, example), given.networks, given.held)
            sys.stdout.write(f"{name} {json.dumps(found, indent=1)}\n")
            keep(name, found)


def keep(name: str, found: dict[str, Any]) -> None:
    """Puts one network's figures into the record, beside those of the others."""
    known = json.loads(RESULT.read_text())["networks"] if RESULT.exists() else {}
    found = {"date": str(date.today()), "commit": commit(), **found}
    record = {
        "command": "python benchmarks/bench_costs.py",
        "device": Cpu().record(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "networks": {**known, name: found},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
