"""How far two gloo processes are from one: scores, batch norms, fine-tuning, and whole runs.

    PYTHONPATH=. python benchmarks/bench_processes.py

Small models, those of tests/processes; every figure is the largest difference of any number between what
either of two processes has and what one has: of scores relative, of weights and losses absolute.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from revision import commit

from tests.processes import test_recovery as recovery
from tests.processes import test_statistics as statistics
from tests.processes.ranks import in_ranks

RESULT = Path(__file__).parent / "results" / "processes.json"
SCORES: tuple[Callable[[], Any], ...] = (statistics.taylor, statistics.obs, statistics.obs_of_one_batch)


def apart(ranks: list[dict[str, Any]], function: Callable[[], Any], *, relative: bool) -> float:
    """The largest difference between any of the processes and one."""
    alone, found = function(), 0.0
    for ranked in ranks:
        for name, value in alone.items():
            difference = (ranked[function.__name__][name].double() - value.double()).abs()
            if relative:
                difference = difference / value.double().abs().clamp_min(1e-300)
            found = max(found, float(difference.max()))
    return found


def main() -> None:
    torch.set_num_threads(1)
    ranks = in_ranks(*SCORES, *recovery.TOLERANCES)
    record = {
        "commit": commit(),
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "cpu": platform.processor() or platform.machine(),
        "processes": len(ranks),
        "scores_relative": {f.__name__: apart(ranks, f, relative=True) for f in SCORES},
        "weights_absolute": {f.__name__: apart(ranks, f, relative=False) for f in recovery.TOLERANCES},
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
