"""Accuracy of a Fashion-MNIST ResNet at a share of its latency: without training, and after 1 and 5 epochs.

    python benchmarks/bench_recovery_resnet.py [--network shipped 0 ...] [--draw 0 1 2] [--budget 0.5 ...]
                                               [--only SIDE] [--cut NAME ...] [--recovery NAME ...]
                                               [--fresh] [--summary]

Networks are the one that comes with the package, or those that `recovery_networks.py` trains, named by their
seeds. Per network, draw (of calibration images and of all that is random in recovery) and budget: penjing's
cuts by each criterion and the recoveries of `recoveries`, and torch-pruning's by each of its ways, with the
same weights, the same measure of latency (the exported file in ONNX Runtime, beside the original's) and the
same optimiser, schedule and augmentation.
Accuracy is that on the 10,000 test images; no choice rests on it, but for torch-pruning's, of which the best
way counts, at every point. Seconds of distillation leave out what a teacher has been asked before.

Every figure is stored as soon as it is there: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
import warnings
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import recovery_peer
import torch
from recovery_networks import SHIPPED, network, untrained
from recovery_records import (
    PRECISION,
    Records,
    Recovery,
    Remembered,
    Trial,
    arguments,
    kept_cut,
    loaded,
    missing,
    parameters,
    wanted,
)
from torch import Tensor, nn
from torch.nn import functional

import penjing as pj
from penjing.datasets import LabelledImages, fashion_mnist
from penjing.demo import accuracy
from penjing.demo.task import Augmented
from penjing.recover import Situation

DRAWS = (0, 1, 2)
BUDGETS = (0.5, 0.33, 0.25, 0.15)
CALIBRATION = 2048
UNLABELLED = 16384
EXAMPLE = torch.zeros(1, 1, 28, 28)


Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Data:
    """What every job works on."""

    train: LabelledImages
    test: LabelledImages

    draw: int = 0

    def calibration(self) -> list[Batch]:
        """2,048 training images; only criteria of gradients see their labels."""
        generator = torch.Generator().manual_seed(1000 * self.draw)
        drawn = torch.randperm(len(self.train), generator=generator)[:CALIBRATION]
        part = self.train.take(drawn)
        return list(zip(part.inputs().split(128), part.labels.split(128), strict=True))

    def unlabelled(self) -> list[Tensor]:
        """16,384 training images without their labels."""
        generator = torch.Generator().manual_seed(1000 * self.draw + 1)
        drawn = torch.randperm(len(self.train), generator=generator)[:UNLABELLED]
        return list(self.train.take(drawn).inputs().split(128))

    def accuracy(self, model: nn.Module) -> float:
        return round(accuracy(model, self.test.images, self.test.labels), 4)


def loss(outputs: Tensor, batch: Batch) -> Tensor:
    return functional.cross_entropy(outputs, batch[1])


def tuned(epochs: int, data: Data, *, distilled: bool = False, lr: float = 3e-3) -> pj.FineTune:
    """The one recipe of training, for both."""
    return pj.FineTune(
        epochs=epochs,
        train=Augmented(data.train),
        lr=lr,
        loss="label+teacher" if distilled else "label",
        teacher_share=0.9,
        temperature=3.0,
        keep="last",
        precision=PRECISION,
    )


def blockwise(data: Data) -> pj.Blockwise:
    """A few hundred steps, no labels."""
    return pj.Blockwise(
        data.unlabelled(), steps=60, joint=400, lr=3e-3, share=0.1, precision=PRECISION, memory_bytes=2**30
    )


UNTRAINED = ("as cut", "batch norm", "closed form")
CRITERIA: dict[str, Sequence[str] | None] = {"obs": None, "taylor": UNTRAINED}
"""Of penjing, each with its own cut; and the recoveries that are tried on it, None for all."""


def recoveries(data: Data) -> dict[str, Recovery]:
    """Those that train go on from the best there is without training, one of them from the closed form."""
    return {
        "as cut": Recovery(),
        "batch norm": Recovery([pj.BatchNorm()]),
        "closed form": Recovery([pj.Reconstruct()]),
        "blockwise": Recovery([blockwise(data)], after="closed form"),
        "closed form, 1 epoch": Recovery([tuned(1, data)], after="closed form"),
        "1 epoch": Recovery([tuned(1, data)], after="blockwise"),
        "1 epoch, distilled": Recovery([tuned(1, data, distilled=True)], after="blockwise", taught=True),
        "5 epochs": Recovery([tuned(5, data)], after="blockwise"),
        "5 epochs, distilled": Recovery([tuned(5, data, distilled=True)], after="blockwise", taught=True),
    }


def recoveries_of_peer(data: Data) -> dict[str, Recovery]:
    """The same training, from what torch-pruning leaves."""
    return {
        "as cut": Recovery(),
        "batch norm": Recovery([pj.BatchNorm()]),
        "1 epoch": Recovery([tuned(1, data)], after="batch norm"),
        "5 epochs": Recovery([tuned(5, data)], after="batch norm"),
    }


@dataclass(frozen=True)
class Job:
    """One network, one draw, one budget.

    Attributes:
        name: of the network.
        original: the network.
        budget: share of its latency.
        data: as drawn.
        teacher: the network again, which remembers.
    """

    name: str
    original: nn.Module
    budget: float
    data: Data
    teacher: Remembered

    def __str__(self) -> str:
        """In the results; draws other than the first are named."""
        which = self.name if self.name == SHIPPED else f"seed {self.name}"
        return f"{which}, {self.budget}x" + (f", draw {self.data.draw}" if self.data.draw else "")


def ours(job: Job, records: Records, given: Namespace) -> None:
    """Every criterion of penjing, with every recovery."""
    original, data, draw = job.original, job.data, job.data.draw
    for criterion in wanted(CRITERIA, given):
        tried = CRITERIA[criterion]
        table = {name: way for name, way in recoveries(data).items() if tried is None or name in tried}
        row = records.row(str(job), "penjing", criterion)

        def prune(criterion: str = criterion) -> pj.Result:
            return pj.prune(
                original,
                EXAMPLE,
                budget=f"latency={job.budget}x",
                criterion=criterion,
                data=data.calibration(),
                loss=loss,
                seed=draw,
            )

        folder = kept_cut(row, f"resnet-{job}-{criterion}", prune, original)
        records.keep()
        names = missing(row, table, given)
        if names:
            model, plan = loaded(folder, lambda: untrained(job.name))
            net = pj.trace(original, EXAMPLE)
            situation = Situation(original, data.calibration(), seed=draw, net=net, plan=plan)
            trial = Trial(model, table, situation, job.teacher)
            for name in names:
                made, took = trial.run(name)
                figures = {"accuracy": data.accuracy(made), **took}
                records.note(row, str(job), f"penjing {criterion}", name, figures)


def theirs(job: Job, records: Records, given: Namespace) -> None:
    """Every way of torch-pruning, up to one epoch; five for the one that is best after one."""
    original, data, batches = job.original, job.data, job.data.calibration()
    graded = recovery_peer.with_gradients(original, batches)
    situation = Situation(original, batches, seed=data.draw)
    table = recoveries_of_peer(data)

    def fill(way: str, names: Sequence[str]) -> None:
        row = records.row(str(job), "torch-pruning", way)
        if not row:
            found = recovery_peer.fit(graded, EXAMPLE, way, job.budget)
            row.clear()
            row.update({**(found.record() if found else {"error": "above the limit"}), "recovered": {}})
            records.keep()
        names = [] if "error" in row else missing(row, {name: table[name] for name in names}, given)
        if names:
            means = recovery_peer.WAYS[way]
            model = recovery_peer.cut(graded, EXAMPLE, means, row["ratio"], row["round_to"])
            row["params"] = round(parameters(model) / parameters(original), 4)
            trial = Trial(model, table, situation)
            for name in names:
                made, took = trial.run(name)
                figures = {"accuracy": data.accuracy(made), **took}
                records.note(row, str(job), f"torch-pruning {way}", name, figures)

    for way in wanted(recovery_peer.WAYS, given):
        fill(way, ["as cut", "batch norm", "1 epoch"])
    rows = records.found["jobs"][str(job)]["torch-pruning"]
    after_one = {
        way: row["recovered"]["1 epoch"] for way, row in rows.items() if "1 epoch" in row["recovered"]
    }
    if after_one:
        best = max(after_one, key=lambda way: after_one[way]["accuracy"])
        fill(best, ["5 epochs"])


def main() -> None:
    parser = arguments(__doc__, BUDGETS)
    parser.add_argument("--network", nargs="*", default=[SHIPPED], help=f"{SHIPPED}, or seeds of training")
    parser.add_argument(
        "--draw", type=int, nargs="*", default=DRAWS, help="of data and of all that is random"
    )
    parser.add_argument("--only", choices=("penjing", "torch-pruning"))
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    records = Records.read("recovery_resnet")
    if not given.summary:
        train, test = fashion_mnist(split="train"), fashion_mnist(split="test")
        for name, draw in product(given.network, given.draw):
            original, data = network(name), Data(train, test, draw)
            teacher = Remembered(original)
            if name not in records.found["networks"]:
                records.found["networks"][name] = {"accuracy": data.accuracy(original)}
            for budget in given.budget:
                job = Job(name, original, budget, data, teacher)
                records.forget(str(job), given)
                if given.only != "torch-pruning":
                    ours(job, records, given)
                if given.only != "penjing":
                    theirs(job, records, given)
    print(records.summary("accuracy"))


if __name__ == "__main__":
    main()
