"""CPU seconds that criteria without data take to score about 100 million parameters.

    python benchmarks/bench_scoring.py [--runs 3]

Two chains: linear layers 2048 to 4096 wide, and convolutions of some 966 filters with batch norms. One
thread; medians of all units of all axes scored, sums over slices included.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from revision import commit
from torch import Tensor, nn

from penjing import criteria
from penjing.criteria import CRITERIA
from penjing.errors import PenjingError
from penjing.network import Network, trace

RESULT = Path(__file__).parent / "results" / "scoring.json"
ALLOWED_S = 2.0


def chains() -> dict[str, tuple[nn.Module, Tensor]]:
    widths = [2048, *[4096, 2048] * 6]
    linear = [layer for i, o in itertools.pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU())]
    filters = [64, *[966] * 12]
    convolutions = [
        layer
        for i, o in itertools.pairwise(filters)
        for layer in (nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
    ]
    return {
        "linear": (nn.Sequential(*linear).eval(), torch.randn(1, 2048)),
        "convolutions": (nn.Sequential(*convolutions).eval(), torch.randn(1, 64, 4, 4)),
    }


def seconds(net: Network, name: str, runs: int) -> float | str:
    found = []
    for _ in range(runs):
        start = time.process_time()
        try:
            criteria.score(net, criteria.get(name))
        except PenjingError as error:
            return error.code
        found.append(time.process_time() - start)
    return round(median(found), 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    for chain, (model, example) in chains().items():
        net = trace(model, example)
        rows[chain] = {"parameters": net.parameters}
        for name, make in CRITERIA.items():
            if not make().record.needs:
                rows[chain][name] = seconds(net, name, given.runs)
                print(chain, name, rows[chain][name], flush=True)
    record = {
        "command": "python benchmarks/bench_scoring.py",
        "commit": commit(),
        "date": str(date.today()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "allowed_s": ALLOWED_S,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
