"""How far plans are from the proven optimum, and how long planning takes.

    python benchmarks/bench_allocator.py [--only NAME ...] [--seconds 120]

Real networks, scored by magnitude, under bounds on operations, on the latency that the `phone-cpu` sheet
estimates (widths in its steps), and on both and memory at once. HiGHS solves each as a mixed-integer program
over the same widths; where it does not come to its end in time, the gap is that to its bound.
Planning is timed for a network of 200 axes, too: all that is done for one budget, and for another one after.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from budget_networks import BUILDERS
from revision import commit
from torch import nn

import penjing as pj
from penjing import criteria, plan
from penjing.devices import MemoryModel, Roofline, get
from penjing.devices.widths import alignments
from penjing.network import Network
from penjing.plan import Allocator, Cost
from penjing.run.pricing import estimated, memory

RESULTS = Path(__file__).parent / "results" / "allocator.json"
BUDGETS: tuple[dict[str, float], ...] = (
    {"macs": 0.5},
    {"latency": 0.7},
    {"latency": 0.5},
    {"latency": 0.3},
    {"latency": 0.5, "macs": 0.45, "memory": 0.8},
)


def costs(net: Network, device: Roofline) -> dict[str, Cost]:
    return {
        **estimated(net, device.estimate(net)),
        "macs": plan.macs(net),
        "memory": memory(MemoryModel(net)),
    }


def allocator(net: Network, device: Roofline) -> Allocator:
    steps = alignments(net, device.stairs)
    scores = criteria.score(net, criteria.Magnitude())
    return Allocator(net, scores, costs(net, device), steps=lambda axis: steps.get(axis, 1))


def instance(net: Network, device: Roofline, budget: Mapping[str, float], seconds: float) -> dict[str, Any]:
    fresh = allocator(net, device)
    whole = {quantity: cost.total({}) for quantity, cost in costs(net, device).items()}
    limits = {quantity: share * whole[quantity] for quantity, share in budget.items()}
    start = time.process_time()
    fresh.allocate(limits)
    planned = time.process_time() - start
    start = time.perf_counter()
    judged = fresh.judged(limits, seconds=seconds)
    return {
        "worth": round(judged.allocation.worth, 6),
        "best": None if judged.worth is None else round(judged.worth, 6),
        "bound": round(judged.bound, 6),
        "gap": round(judged.gap, 6),
        "proven": judged.proven,
        "planning_s": round(planned, 3),
        "solver_s": round(time.perf_counter() - start, 1),
    }


def deep(layers: int = 200) -> Network:
    """A chain of as many axes, of 64 to 256 units."""
    widths = [64 * (1 + number % 4) for number in range(layers + 1)]
    made: list[nn.Module] = []
    for one, next_one in pairwise(widths):
        made += [nn.Linear(one, next_one), nn.ReLU()]
    return pj.trace(nn.Sequential(*made, nn.Linear(widths[-1], 8)).eval(), torch.randn(1, widths[0]))


def timed(net: Network, device: Roofline) -> dict[str, float]:
    """CPU seconds of one thread."""
    whole = costs(net, device)["latency"].total({})
    start = time.process_time()
    fresh = allocator(net, device)
    ready = time.process_time()
    fresh.allocate({"latency": 0.5 * whole})
    first, planning = time.process_time() - start, time.process_time() - ready
    start = time.process_time()
    fresh.allocate({"latency": 0.4 * whole})
    return {
        "axes": len(net.prunable),
        "first_s": round(first, 3),
        "of_which_planning_s": round(planning, 3),
        "another_s": round(time.process_time() - start, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=BUILDERS, default=list(BUILDERS))
    parser.add_argument("--seconds", type=float, default=120.0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    device = get("phone-cpu")
    assert isinstance(device, Roofline)
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"instances": {}}
    for name in given.only:
        torch.manual_seed(0)
        model, inputs = BUILDERS[name]()
        net = pj.trace(model.eval(), inputs)
        for budget in BUDGETS:
            text = ",".join(f"{quantity}={share}x" for quantity, share in budget.items())
            line = instance(net, device, budget, given.seconds)
            found["instances"][f"{name}, {text}"] = line
            print(f"{name:12} {text:40} {line}", flush=True)
    found["deep"] = timed(deep(), device)
    gaps = [line["gap"] for line in found["instances"].values()]
    found |= {
        "command": "python benchmarks/bench_allocator.py",
        "date": str(date.today()),
        "commit": commit(),
        "mean_gap": round(statistics.fmean(gaps), 6),
        "worst_gap": max(gaps),
        "proven": sum(line["proven"] for line in found["instances"].values()),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(found["deep"], {key: found[key] for key in ("mean_gap", "worst_gap", "proven")}, len(gaps))


if __name__ == "__main__":
    main()
