"""Accuracy of image networks after the same recovery at equal measured latency, by what guided the cut.

    python benchmarks/bench_codesign.py [--network resnet mobilenet vit] [--budget 0.5 0.3] [--only SIDE ...]
                                        [--cut WAY ...] [--recovery NAME ...] [--more] [--again] [--fresh]
                                        [--summary]

The networks of `codesign_networks.py`; the device is `cpu`. Per network and share of its latency there are

- hardware: `pj.prune(budget="latency=0.5x")`;
- macs: the plan of most worth within a share of the operations, any widths or in eights;
- uniform: the same share of every axis, likewise;
- torch-pruning: its ways, channels in eights.

The first three rank units by the same scores of `obs`; the share of the other three is searched for until
the exported file, measured beside the original's, is inside the same limit and at most 5 % below, or as
near as it gets. Recovery is alike for all: batch norms estimated anew and an epoch over 20,480 images,
three times with other seeds; beside it penjing's own, which torch-pruning has no counterpart for. Accuracy is
that on the 10,000 test images.

`--more` adds budgets for hardware alone: points to read off where it reaches the accuracy of others.
`--again` measures all latencies a second time: the first is what was chosen by. Every figure is stored as
soon as it is there: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import fmean

import recovery_peer
import torch
from bench_recovery_resnet import EXAMPLE, Data, loss, tuned
from codesign_networks import CLASSES, network
from equal_latency import against, closest
from recovery_networks import cache
from recovery_records import (
    Records,
    Recovery,
    Row,
    Trial,
    arguments,
    kept_cut,
    loaded,
    missing,
    parameters,
    wanted,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import penjing as pj
from penjing import criteria, plan
from penjing.datasets import fashion_mnist
from penjing.network import Network
from penjing.recover import Situation
from penjing.surgery import cut

BUDGETS = (0.5, 0.3)
MORE = (0.7, 0.4, 0.2)
"""For hardware alone."""

EPOCH = 20480
SIDES = ("hardware", "macs", "uniform", "torch-pruning")
STEPS = {"obs": 1, "obs, in eights": 8}
"""Of widths, for macs and uniform."""

WAYS: Mapping[str, tuple[str, ...]] = {
    "hardware": ("obs",),
    "macs": tuple(STEPS),
    "uniform": tuple(STEPS),
    "torch-pruning": ("magnitude", "magnitude, global", "taylor, global"),
}
"""Of torch-pruning, the first is what its documentation begins with."""

SAME = "batch norm, 1 epoch"
SEEDS = {SAME: 0, f"{SAME}, seed 1": 1, f"{SAME}, seed 2": 2}
"""Of what is random in training; the accuracy that counts is the mean."""

BEST = "closed form, 1 epoch, distilled"


PLANNED = ("closed form", BEST)


def recoveries(data: Data) -> dict[str, Recovery]:
    """For all; the last two need a plan."""
    same = tuned(1, data, lr=1e-3)
    return {
        "batch norm": Recovery([pj.BatchNorm()]),
        **{name: Recovery([replace(same, seed=seed)], after="batch norm") for name, seed in SEEDS.items()},
        "closed form": Recovery([pj.Reconstruct()]),
        BEST: Recovery([tuned(1, data, distilled=True, lr=1e-3)], after="closed form"),
    }


@dataclass(frozen=True)
class Subject:
    """One network, and what all its cuts have in common."""

    name: str
    original: nn.Module
    data: Data

    @cached_property
    def net(self) -> Network:
        return pj.trace(self.original, EXAMPLE)

    @cached_property
    def scores(self) -> dict[str, Tensor]:
        """Of `obs`, as `pj.prune` would have them; kept beside the cuts."""
        path = cache() / f"codesign-{self.name}-scores.safetensors"
        if not path.exists():
            obs = criteria.Obs()
            known = criteria.collect(self.net, obs.record.needs, data=self.data.calibration(), loss=loss)
            found = criteria.score(self.net, obs, known)
            save_file({axis: values.contiguous() for axis, values in found.items()}, path)
        return load_file(path)

    @cached_property
    def graded(self) -> nn.Module:
        return recovery_peer.with_gradients(self.original, self.data.calibration())

    def macs(self, share: float, step: int) -> pj.Plan:
        """The plan of most worth within that share of the operations."""
        cost = plan.macs(self.net)
        limits = {"macs": share * cost.total({})}
        return plan.allocate(self.net, self.scores, limits, {"macs": cost}, steps=step).plan

    def uniform(self, share: float, step: int) -> pj.Plan:
        """That share of every axis, to the nearest step where the axis has several."""
        exact = {
            axis.name: max(step, round(share * axis.size / step) * step)
            for axis in self.net.prunable
            if axis.size > step > 1
        }
        return plan.uniform(self.net, self.scores, share, exact=exact).plan

    def lost(self, widths: Mapping[str, int]) -> float:
        """The share of all worth that goes where axes keep so many of their best units."""
        gone = [self.scores[axis].sort().values[: -kept or None].sum() for axis, kept in widths.items()]
        return float(sum(gone) / sum(values.sum() for values in self.scores.values()))


GUIDES: Mapping[str, Callable[[Subject, float, int], pj.Plan]] = {
    "macs": Subject.macs,
    "uniform": Subject.uniform,
}


def job(subject: Subject, budget: float) -> str:
    return f"{subject.name}, {budget}x"


def hardware(subject: Subject, budget: float, row: Row) -> tuple[nn.Module, pj.Plan]:
    def prune() -> pj.Result:
        return pj.prune(
            subject.original,
            EXAMPLE,
            budget=f"latency={budget}x",
            criterion="obs",
            data=subject.data.calibration(),
            loss=loss,
        )

    folder = kept_cut(row, f"codesign-{job(subject, budget)}", prune, subject.original)
    return loaded(folder, CLASSES[subject.name])


def guided(subject: Subject, budget: float, row: Row, side: str, step: int) -> tuple[nn.Module, pj.Plan]:
    """By the share that is known, or that is searched for now."""
    if not row:
        with against(subject.original, EXAMPLE) as measure:

            def made(share: float) -> nn.Module:
                return cut(subject.net, GUIDES[side](subject, share, step)).model

            found = closest(made, measure, budget)
        row.update(filled(found) if found else {"error": "above the limit", "recovered": {}})
    if "error" in row:
        return nn.Identity(), pj.Plan()
    chosen = GUIDES[side](subject, row["share"], step)
    model = cut(subject.net, chosen).model
    row.update(params=share_of(model, subject), widths=chosen.counts())
    return model, chosen


def filled(found: tuple[float, float]) -> Row:
    return {"share": found[0], "latency": round(found[1], 4), "recovered": {}}


def pruned(subject: Subject, budget: float, row: Row, way: str) -> nn.Module:
    """What torch-pruning makes of it."""
    if not row:
        try:
            found = recovery_peer.fit(subject.graded, EXAMPLE, way, budget)
        except Exception as error:  # whatever it says, and of whatever class
            row.update({"error": f"{type(error).__name__}: {error}", "recovered": {}})
        else:
            row.update(found.record() if found else {"error": "above the limit"}, recovered={})
    if "error" in row:
        return nn.Identity()
    means = recovery_peer.WAYS[way]
    model = recovery_peer.cut(subject.graded, EXAMPLE, means, row["ratio"], row["round_to"])
    row["params"] = share_of(model, subject)
    return model


def share_of(model: nn.Module, subject: Subject) -> float:
    return round(parameters(model) / parameters(subject.original), 4)


@dataclass(frozen=True)
class Contender:
    """One cut, to be recovered."""

    job: str
    side: str
    cut: str
    row: Row
    model: nn.Module
    plan: pj.Plan | None

    def recover(self, subject: Subject, records: Records, given: Namespace) -> None:
        table, data = recoveries(subject.data), subject.data
        names = [
            name for name in missing(self.row, table, given) if self.plan or name in ("batch norm", SAME)
        ]
        if not self.plan or not names:
            situation = Situation(subject.original, data.calibration())
        else:
            situation = Situation(subject.original, data.calibration(), net=subject.net, plan=self.plan)
        trial = Trial(self.model, table, situation)
        for name in names:
            made, took = trial.run(name)
            figures = {"accuracy": data.accuracy(made), **took}
            records.note(self.row, self.job, f"{self.side} {self.cut}", name, figures)

    def again(self, subject: Subject, records: Records) -> None:
        if "latency_again" not in self.row:
            with against(subject.original, EXAMPLE) as measure:
                self.row["latency_again"] = round(measure(self.model), 4)
            records.keep()
            print(self.job, self.side, self.cut, self.row["latency"], self.row["latency_again"], flush=True)


def contenders(
    subject: Subject, budget: float, records: Records, given: Namespace, sides: tuple[str, ...]
) -> Iterator[Contender]:
    """Every cut that is asked for, within the limit."""
    named = job(subject, budget)
    for side in sides:
        for way in wanted(WAYS[side], given):
            row = records.row(named, side, way)
            kept: pj.Plan | None = None
            if side == "torch-pruning":
                model = pruned(subject, budget, row, way)
            elif side == "hardware":
                model, kept = hardware(subject, budget, row)
            else:
                model, kept = guided(subject, budget, row, side, STEPS[way])
            records.keep()
            print(named, side, way, {key: row.get(key) for key in ("latency", "params", "error")}, flush=True)
            if "error" not in row:
                yield Contender(named, side, way, row, model, kept)


def weigh(subject: Subject, records: Records) -> None:
    """Notes of every plan how much worth it gives up."""
    for named, sides in records.found["jobs"].items():
        for row in (row for ways in sides.values() for row in ways.values()):
            if same_network(named, subject.name) and "widths" in row:
                row["lost"] = round(subject.lost(row["widths"]), 4)
    records.keep()


Point = tuple[float, float]
"""Latency and accuracy."""


def reached(points: list[Point], accuracy: float) -> str:
    """The least latency at which `points` have an accuracy, on straight lines between them."""
    points = sorted(points)
    if points[0][1] >= accuracy:
        return f"<={points[0][0]:.3f}"
    for (left, low), (right, high) in pairwise(points):
        if low < accuracy <= high:
            return f"{left + (accuracy - low) / (high - low) * (right - left):.3f}"
    return "-"


def latency_of(row: Row) -> float:
    """The second measurement, by which nothing was chosen, where there is one."""
    return float(row.get("latency_again", row["latency"]))


def mean(row: Row) -> float | None:
    """Accuracy after the recovery that is alike for all, over the seeds that are known."""
    known = [row["recovered"][name]["accuracy"] for name in SEEDS if name in row.get("recovered", {})]
    return fmean(known) if known else None


def summary(records: Records) -> str:
    """Every contender, and where hardware reaches its accuracy after the same recovery."""
    head = f"{'':<50}{'latency':>9}{'again':>9}{'params':>9}{'lost':>9}{'same':>9}  {'its seeds':<22}"
    lines = [head + "".join(f"{name:>34}" for name in PLANNED)]
    jobs = records.found["jobs"]
    for named, sides in sorted(jobs.items()):
        rows = [
            one.get("hardware", {}).get("obs", {}) for key, one in jobs.items() if same_network(key, named)
        ]
        points = [(latency_of(row), same) for row in rows if (same := mean(row)) is not None]
        points.append((1.0, records.found["networks"][named.split(",")[0]]["accuracy"]))
        for side, way, row in ((side, way, row) for side, ways in sides.items() for way, row in ways.items()):
            label = f"{named:<18}{side + ' ' + way:<32}"
            same = mean(row)
            if "error" in row or same is None:
                lines.append(label + str(row.get("error", "")))
                continue
            got = {name: f"{figures['accuracy']:.2%}" for name, figures in row["recovered"].items()}
            seeds = " ".join(got[name] for name in SEEDS if name in got)
            cells = (row["latency"], row.get("latency_again", ""), row["params"], row.get("lost", ""))
            line = label + "".join(f"{cell:>9}" for cell in cells) + f"{same:>9.2%}  {seeds:<22}"
            line += "".join(f"{got.get(name, ''):>34}" for name in PLANNED)
            if side != "hardware" and (at := reached(points, same)) != "-":
                line += f"  hardware as good at {at}: {latency_of(row) / float(at.lstrip('<=')):.2f}x"
            lines.append(line)
    return "\n".join(lines)


def same_network(job: str, other: str) -> bool:
    return job.split(",")[0] == other.split(",")[0]


def main() -> None:
    parser = arguments(__doc__, BUDGETS)
    parser.add_argument("--network", nargs="*", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--only", nargs="*", choices=SIDES, default=SIDES)
    parser.add_argument("--more", action="store_true", help="more budgets, for hardware alone")
    parser.add_argument("--again", action="store_true", help="measure latencies a second time")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    records = Records.read("codesign")
    if not given.summary:
        train, test = fashion_mnist(split="train"), fashion_mnist(split="test")
        drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:EPOCH]
        data = Data(train.take(drawn), test)
        for name in given.network:
            subject = Subject(name, network(name), data)
            if name not in records.found["networks"]:
                figures = {
                    "accuracy": data.accuracy(subject.original),
                    "params": parameters(subject.original),
                }
                records.found["networks"][name] = figures
            for budget in (*given.budget, *(MORE if given.more else ())):
                sides = tuple(side for side in given.only if budget in given.budget or side == "hardware")
                for contender in contenders(subject, budget, records, given, sides):
                    contender.recover(subject, records, given)
                    if given.again:
                        contender.again(subject, records)
            weigh(subject, records)
    print(summary(records))


if __name__ == "__main__":
    main()
