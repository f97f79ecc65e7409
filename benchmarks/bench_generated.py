"""Examines generated networks: wrong results, crashes, hangs, and axes that are frozen without need.

    python benchmarks/bench_generated.py [--graphs 2000] [--first 0] [--workers 2] [--outcomes FILE]

Every network is cut to half of its units in both forms, and by single units, and compared with oracles that
share no code with penjing: zeros in the original's weights, and a judge that finds by perturbing what can be
removed. It fails if anything is wrong, or if more than a tenth of the axes are frozen without need. With
--outcomes every outcome is kept as a line of JSON, and what the file already has is not examined again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from revision import commit  # noqa: E402

from tests.equivalence.generated.examine import Outcome  # noqa: E402
from tests.equivalence.generated.limit import examined  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "generated.json"
ALLOWED = 0.1


def prepare() -> None:
    """One thread to a worker, and no warnings of torch's own copies."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def outcomes(seeds: range, workers: int, kept: Path | None) -> Iterator[Outcome]:
    """What was found for every seed, as it comes."""
    known = (
        [Outcome(**json.loads(line)) for line in kept.read_text().splitlines()]
        if kept and kept.exists()
        else []
    )
    yield from (outcome for outcome in known if outcome.seed in seeds)
    left = sorted(set(seeds) - {outcome.seed for outcome in known})
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=prepare) as pool:
        for done, outcome in enumerate(pool.map(examined, left, chunksize=4), start=1):
            for problem in outcome.problems:
                print(f"seed {outcome.seed}: {problem}", flush=True)
            if done % 100 == 0:
                print(f"{done} of {len(left)}", flush=True)
            if kept:
                with kept.open("a") as lines:
                    lines.write(json.dumps(asdict(outcome)) + "\n")
            yield outcome


def summary(found: list[Outcome]) -> dict[str, Any]:
    """The figures over all networks."""
    total: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    fallbacks: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for one in found:
        total.update(
            operators=one.operators,
            axes=one.axes,
            prunable=one.prunable,
            frozen=one.frozen,
            frozen_by_kind=one.kinds,
            frozen_without_need=len(one.needless),
            units_like_the_judge=one.units,
            graphs_compared_with_zeros=one.masked,
            graphs_with_problems=bool(one.problems),
            crashes=any(p.startswith("crash") and "TimeoutError" not in p for p in one.problems),
            hangs=any("TimeoutError" in p for p in one.problems),
            own_module_kept=one.fallback is None,
            proofs_and_comparisons_failed=sum(not p.startswith("crash") for p in one.problems),
        )
        reasons.update(reason for _, _, reason, _ in one.needless)
        seconds.update(one.seconds)
        if one.fallback:
            fallbacks[one.fallback[:100]] += 1
    return {
        "graphs": len(found),
        **dict(total),
        "operators_fewest": min(one.operators for one in found),
        "share_of_axes_frozen_without_need": round(total["frozen_without_need"] / max(1, total["axes"]), 4),
        "share_of_frozen_axes_without_need": round(total["frozen_without_need"] / max(1, total["frozen"]), 4),
        "largest_proof_error": max(one.max_error for one in found),
        "reasons_without_need": dict(reasons.most_common()),
        "fallbacks": dict(fallbacks.most_common(20)),
        "seconds_per_graph": {part: round(spent / len(found), 3) for part, spent in seconds.items()},
    }


def main() -> int:
    """Runs, writes the JSON, and says whether all is well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--outcomes", type=Path, help="a file to keep every outcome in, and to go on from")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    started = time.perf_counter()
    seeds = range(options.first, options.first + options.graphs)
    figures = summary(list(outcomes(seeds, options.workers, options.outcomes)))
    record = {
        "command": f"python benchmarks/bench_generated.py --graphs {options.graphs} --first {options.first}",
        "date": date.today().isoformat(),
        "commit": commit(),
        "device": {
            "cpu": platform.processor() or platform.machine(),
            "workers": options.workers,
            "threads": 1,
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "wall_s": round(time.perf_counter() - started, 1),
        "result": figures,
    }
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    well = figures["graphs_with_problems"] == 0 and figures["share_of_axes_frozen_without_need"] <= ALLOWED
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
