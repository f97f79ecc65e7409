"""Whether budgets of latency are met on every runtime installed here, and how well latency is predicted.

    python benchmarks/bench_devices.py [--device NAME ...] [--only NAME ...] [--budget 0.7 ...] [--fresh]

For each device, network and share of latency the whole of `penjing.prune` is run, without recovery. What
counts is the figure in the report: inside, at most 5 % below. The error of predictions is that of the cost
model on measured networks that its fit had not seen. On `cpu`, operators are compared with the original's.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
import warnings
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from budget_networks import BUILDERS
from revision import commit

import penjing as pj
from penjing.devices import Timed, get

RESULT = Path(__file__).parent / "results" / "devices.json"

NETWORKS = ("resnet", "mobilenet", "vit", "bert")
BUDGETS = (0.7, 0.5, 0.3)
DEVICES = ("cpu", "openvino", "torch", "litert", "executorch", "inductor")
BELOW = 0.05


def judge(device: str, name: str, budget: float) -> dict[str, Any]:
    torch.manual_seed(0)
    model, inputs = BUILDERS[name]()
    start = time.perf_counter()
    result = pj.prune(model.eval(), inputs, budget=f"latency={budget}x", device=device)
    report = result.report
    (line,) = report.budget
    used = line.achieved / line.limit
    return {
        "used": round(used, 4),
        "inside": line.met,
        "within_5_percent": 1 - BELOW <= used <= 1,
        "basis": report.device.basis,
        "measured_on_the_way": len(report.candidates),
        "model_error": {key: round(value, 4) for key, value in report.costs.items()},
        "first_prediction": [
            round(one.predicted["latency"] / one.measured["latency"] - 1, 4) for one in report.candidates[:1]
        ],
        "operators": [note for note in report.notes if "than in the original" in note],
        "proof": result.proof.max_error,
        "seconds": round(time.perf_counter() - start, 1),
    }


def summary(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for device in dict.fromkeys(key.split()[0] for key in rows):
        mine = [row for key, row in rows.items() if key.split()[0] == device and "error" not in row]
        count = sum(key.split()[0] == device for key in rows)
        errors = [row["model_error"] for row in mine]
        lines.append(
            f"{device:<12}{sum(row['inside'] for row in mine)} of {count} inside, "
            f"{sum(row['within_5_percent'] for row in mine)} at most 5 % below; predictions: median "
            f"{median(e['median'] for e in errors):.1%}, worst {max(e['worst'] for e in errors):.1%}"
            if mine
            else f"{device:<12}nothing"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", nargs="*", choices=DEVICES, default=DEVICES)
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--budget", nargs="*", type=float, default=BUDGETS)
    parser.add_argument("--fresh", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    stored: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    rows: dict[str, Any] = stored.get("rows", {})
    for device in given.device:
        made = get(device)
        assert isinstance(made, Timed)
        for name in given.only:
            for budget in given.budget:
                key, now = f"{device} {name} {budget}x", commit()
                if not given.fresh and rows.get(key, {}).get("commit") == now:
                    continue
                try:
                    row = judge(device, name, budget)
                except pj.PenjingError as error:
                    row = {"error": str(error), "inside": False, "within_5_percent": False}
                rows[key] = {"date": str(date.today()), "commit": now, **row}
                print(key, json.dumps(row), flush=True)
                record = {
                    "command": "python benchmarks/bench_devices.py",
                    "cpu": made.record()["cpu"],
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "runtimes": {**stored.get("runtimes", {}), device: made.runtime},
                    "rows": rows,
                }
                stored = record
                RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
