"""The demo's network fitted to an Ethos-U and to a microcontroller, by the word of their own tools.

    python benchmarks/bench_embedded.py [--only NAME ...]

From the trained network to int8 files, ranges from 64 of 512 training images: cut by OBS on those, layers
solved again, no training. Cycles and SRAM of the Ethos-U are asked of the command `vela` once more, and the
arena of tflite-micro itself, for the original and for the result. Accuracy is that of the int8 files on the
demo's 2,000 test images, run by LiteRT.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import re
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from revision import commit

import penjing as pj
from penjing.demo.task import task

RESULT = Path(__file__).parent / "results" / "embedded.json"
BATCHES = 4  # of 128 images

BUDGETS = {
    "ethos-u55-128": "cycles=0.5x,memory=60KB",
    "ethos-u55-32": "cycles=0.3x",
    "cortex-m7-tflite-micro": "cycles=0.5x,memory=60KB",
}

ARENA = """
import sys
import numpy as np
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1])
entry = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(entry["shape"], entry["dtype"]), 0)
interpreter.invoke()
interpreter.print_allocations()
"""


def by_vela(path: Path, device: dict[str, Any]) -> dict[str, float]:
    """What the command itself says."""
    with tempfile.TemporaryDirectory() as folder:
        options = [
            str(path), "--accelerator-config", device["name"], "--output-dir", folder,
            "--config", "Arm/vela.ini", "--system-config", device["details"]["system"],
            "--memory-mode", device["details"]["memory_mode"],
        ]  # fmt: skip
        subprocess.run([sys.executable, "-m", "ethosu.vela", *options], check=True, capture_output=True)
        (summary,) = Path(folder).glob("*_summary_*.csv")
        with summary.open(newline="") as file:
            row = next(csv.DictReader(file))
    return {"cycles": float(row["cycles_total"]), "sram_kib": float(row["sram_memory_used"])}


def by_tflite_micro(path: Path) -> dict[str, float]:
    """What the interpreter itself says."""
    done = subprocess.run(
        [sys.executable, "-c", ARENA, str(path)], check=True, capture_output=True, text=True
    )
    found = re.search(r"Arena allocation total (\d+) bytes", done.stdout + done.stderr)
    assert found is not None
    return {"arena_bytes": float(found[1]), "flash_bytes": float(path.stat().st_size)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=BUDGETS, default=list(BUDGETS))
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    known: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    of = task()
    assert of.calibration is not None
    data = list(islice(of.calibration, BATCHES))
    for name in given.only:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            result = pj.prune(
                of.model, of.example_inputs, budget=BUDGETS[name], device=name, data=data, loss=of.loss,
                evaluate=of.evaluate, recover=pj.Reconstruct(), directory=run,
            )  # fmt: skip
            report = json.loads((run / "report.json").read_text())
            ask = by_tflite_micro if "micro" in name else lambda path, r=report: by_vela(path, r["device"])
            said = {
                side: ask(run / f"{file}.tflite")
                for side, file in (("before", "original"), ("after", "model"))
            }
        known[name] = {
            "budget": report["budget"],
            "tool": said,
            "metric": [report["before"]["metric"], report["after"]["metric"]],
            "size_bytes": [report["before"]["size_bytes"], report["after"]["size_bytes"]],
            "runtime": report["device"]["runtime"],
            "model_error": report["costs"],
            "seconds": round(time.perf_counter() - start, 1),
            "proof": result.proof.max_error,
            "command": "python benchmarks/bench_embedded.py",
            "commit": commit(),
            "date": str(date.today()),
        }  # fmt: skip
        RESULT.write_text(json.dumps(known, indent=1) + "\n")
        print(name, json.dumps(known[name]), flush=True)


if __name__ == "__main__":
    main()
