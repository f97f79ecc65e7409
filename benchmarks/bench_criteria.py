"""Accuracy by criterion at half the operations: as cut, and after one epoch, over three draws of the data.

    python benchmarks/bench_criteria.py [--criterion NAME ...] [--draw 0 1 2] [--images 60000]
                                        [--fresh] [--summary]

The Fashion-MNIST ResNet that comes with the package. For every criterion and draw (of 2,048 calibration
images and of all that is random in training): the plan of most worth within `macs=0.5x`, the cut, its
accuracy on the 10,000 test images, and that after one epoch over `--images` training images, with one recipe
for all. torch-pruning's importances, through its own API, beside them: the same weights, images, operations
(its ratio is searched for until they are within the limit) and training. Every figure is stored as soon as
it is there.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
import torch_pruning as tp
from bench_recovery_resnet import EXAMPLE, Data, loss, tuned
from recovery_networks import SHIPPED, network
from revision import commit
from torch import nn

import penjing as pj
from penjing import criteria, plan
from penjing.criteria import CRITERIA
from penjing.datasets import fashion_mnist
from penjing.recover import Situation
from penjing.surgery import cut

RESULT = Path(__file__).parent / "results" / "criteria.json"
LIMIT = 0.5

PEER: Mapping[str, Callable[[], Any]] = {
    "torch-pruning magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "torch-pruning taylor": tp.importance.GroupTaylorImportance,
    "torch-pruning hessian": tp.importance.GroupHessianImportance,
    "torch-pruning lamp": lambda: tp.importance.LAMPImportance(p=2),
}


def cut_by(name: str, original: nn.Module, net: Any, data: Data) -> tuple[nn.Module, float]:
    """Penjing's cut, and the share of operations that is left."""
    criterion = criteria.Random(seed=data.draw) if name == "random" else criteria.get(name)
    batches = data.calibration()
    known = criteria.collect(net, criterion.record.needs, data=batches, loss=loss)
    cost = plan.macs(net)
    limits = {"macs": LIMIT * cost.total({})}
    chosen = plan.allocate(net, criteria.score(net, criterion, known), limits, {"macs": cost}).plan
    return cut(net, chosen).model, net.macs_at(chosen.counts()) / net.macs


def cut_by_peer(name: str, original: nn.Module, data: Data) -> tuple[nn.Module, float]:
    """The largest network that torch-pruning makes within the limit, by bisection on its ratio."""
    low, high, best = 0.0, 0.95, None
    whole = pj.trace(original, EXAMPLE).macs
    for _ in range(8):
        ratio = (low + high) / 2
        model = _pruned(name, original, data, ratio)
        share = pj.trace(model, EXAMPLE).macs / whole
        if share <= LIMIT:
            best, high = (model, share), ratio
        else:
            low = ratio
    assert best is not None
    return best


def _pruned(name: str, original: nn.Module, data: Data, ratio: float) -> nn.Module:
    model = deepcopy(original).eval()
    importance = PEER[name]()
    (head,) = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    pruner = tp.pruner.BasePruner(
        model, EXAMPLE, importance=importance, global_pruning=True, pruning_ratio=ratio,
        max_pruning_ratio=0.9, ignored_layers=[head],
    )  # fmt: skip
    if isinstance(importance, tp.importance.GroupHessianImportance):
        images, labels = data.calibration()[0]
        for value in nn.functional.cross_entropy(model(images), labels, reduction="none"):
            model.zero_grad()
            value.backward(retain_graph=True)
            importance.accumulate_grad(model)
    else:
        for images, labels in data.calibration():
            nn.functional.cross_entropy(model(images), labels).backward()
    pruner.step()
    model.zero_grad(set_to_none=True)
    return model


def judge(name: str, original: nn.Module, net: Any, data: Data) -> dict[str, Any]:
    start = time.perf_counter()
    peer = name in PEER
    model, share = cut_by_peer(name, original, data) if peer else cut_by(name, original, net, data)
    seconds = time.perf_counter() - start
    row = {"macs": round(share, 4), "cut_seconds": round(seconds, 1), "as cut": data.accuracy(model)}
    situation = Situation(original, data.calibration())
    replace(tuned(1, data, lr=1e-3), seed=data.draw).apply(model, situation)
    return {**row, "1 epoch": data.accuracy(model.eval())}


def summary(rows: Mapping[str, Any]) -> str:
    """Mean and standard deviation over draws, the best after an epoch first."""
    lines = []
    for name in dict.fromkeys(key.rpartition(", draw")[0] for key in rows):
        own = [row for key, row in rows.items() if key.rpartition(", draw")[0] == name]
        cells = []
        for what in ("as cut", "1 epoch"):
            found = [row[what] for row in own]
            spread = f" ± {stdev(found):.2%}" if len(found) > 1 else ""
            cells.append(f"{fmean(found):.2%}{spread}")
        shares = fmean(row["macs"] for row in own)
        lines.append((fmean(r["1 epoch"] for r in own), f"{name:<28}{shares:.3f}  {cells[0]:<20}{cells[1]}"))
    return "\n".join(line for _, line in sorted(lines, reverse=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--criterion", nargs="*", choices=[*CRITERIA, *PEER], default=[*CRITERIA, *PEER])
    parser.add_argument("--draw", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=60000)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--summary", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows: dict[str, Any] = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else {}
    if not given.summary:
        train, test = fashion_mnist(split="train"), fashion_mnist(split="test")
        original = network(SHIPPED).eval()
        net = pj.trace(original, EXAMPLE)
        for draw in given.draw:
            drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(draw))
            data = Data(train.take(drawn[: given.images]), test, draw)
            for name in given.criterion:
                key = f"{name}, draw {draw}"
                if key in rows and not given.fresh:
                    continue
                row = judge(name, original, net, data)
                rows[key] = {**row, "images": given.images, "commit": commit(), "date": str(date.today())}
                print(key, json.dumps(rows[key]), flush=True)
                record = {
                    "command": "python benchmarks/bench_criteria.py",
                    "original": data.accuracy(original),
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "rows": rows,
                }
                RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
