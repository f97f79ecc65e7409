"""The demo's network at a fifth of its operations: in one cut, and in three rounds.

    python benchmarks/bench_rounds.py [--budget macs=0.2x] [--rounds 3]

By reconstruction alone, and by training of equal length: three epochs after the one cut, or one after each of
three.
Accuracy is that of the exported file on the test images of the demo; no choice rests on it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import date
from pathlib import Path

import torch
from revision import commit

import penjing as pj
from penjing.demo.task import task
from penjing.recover import Step

RESULTS = Path(__file__).parent / "results" / "rounds.json"


def tuned(train: object, epochs: int) -> Step:
    """As the demo trains."""
    return pj.FineTune(epochs=epochs, train=train, lr=3e-3, teacher_share=0.9, temperature=3.0, keep="last")  # type: ignore[arg-type]


def main() -> None:
    """Prints a line for each way, and stores all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="macs=0.2x")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = options.rounds
    of = task()
    solved = pj.Reconstruct()
    ways: dict[str, tuple[list[Step], pj.Iterative | None]] = {
        "one cut, reconstructed": ([solved], None),
        "rounds, reconstructed": ([solved], pj.Iterative(rounds=rounds)),
        "one cut, trained": ([solved, tuned(of.train, rounds)], None),
        "rounds, trained": ([solved, tuned(of.train, 1)], pj.Iterative(rounds=rounds)),
    }
    found = {}
    for name, (recover, schedule) in ways.items():
        start = time.perf_counter()
        result = pj.prune(
            of.model, of.example_inputs, budget=options.budget, device="macs", data=of.calibration,
            loss=of.loss, evaluate=of.evaluate, recover=recover, schedule=schedule,
        )  # fmt: skip
        report = result.report
        found[name] = {
            "criterion": report.criterion, "macs": report.after.macs / report.before.macs,
            "before": report.before.metric, "after": report.after.metric,
            "rounds": [line.metric for line in report.rounds], "seconds": time.perf_counter() - start,
        }  # fmt: skip
        print(name, json.dumps(found[name]), flush=True)
        stored = {
            "command": f"python benchmarks/bench_rounds.py --budget {options.budget} --rounds {rounds}",
            "date": date.today().isoformat(), "commit": commit(),
            "device": {"cpu": platform.machine(), "threads": 1},
            "versions": {"python": platform.python_version(), "torch": torch.__version__}, "ways": found,
        }  # fmt: skip
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
