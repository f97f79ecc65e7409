"""The search for a plan that is measured to be inside the budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from torch import Tensor

from penjing import plan as planning
from penjing.devices import Artifact, CostError, CostModel, Measuring
from penjing.devices.estimating import Estimating
from penjing.devices.widths import alignments
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan import Affine, Allocator, Cost, Plan, counts_of, switched_off
from penjing.plan.quantity import enough, written
from penjing.report import CandidateLine
from penjing.run.adjust import AIMS, Amounts, Candidate, adjust, best
from penjing.run.bench import Bench
from penjing.run.calibration import calibrate
from penjing.run.job import Job
from penjing.run.journal import Journal
from penjing.run.pricing import estimated, latency, memory
from penjing.run.progress import Log
from penjing.surgery import Cut, cut

FINER = (2, 4, 16)
"""What steps are divided by in turn, where no network at a device's own steps uses the budget.

Near what the smallest operators take there are few of those, with wide gaps between their latencies.
"""

WEIGHT_BYTES = 4
"""Of an exported weight, until an artifact tells it better."""


@dataclass(frozen=True)
class Found:
    """The search's answer.

    Attributes:
        plan: what to keep.
        cut: the network so cut, proven.
        candidates: what was measured on the way.
        measured: figures of the cut network by quantity; empty where nothing was searched for.
        error: of the latency model; None where no latency had to be predicted.
    """

    plan: Plan
    cut: Cut
    candidates: tuple[CandidateLine, ...]
    error: CostError | None
    measured: Amounts = field(default_factory=dict)


@dataclass(frozen=True)
class Ground:
    """What a search starts from.

    Attributes:
        net: the original, or one of its size and shape that holds other weights: those of what is cut.
        scores: axis name -> worth of every unit of the original; of those that are gone it is not read.
        plan: what is left of the original; nothing comes back.
        share: the largest share of its units that any axis may keep; None for all of them.
        exact: by axis name, how much of it to keep: a share, or a number of units.
        stuck: names of axes in `exact` that are there since nobody knows the worth of their units any more.
    """

    net: Network
    scores: Mapping[str, Tensor]
    plan: Plan = field(default_factory=Plan)
    share: float | None = None
    exact: Mapping[str, float | int] = field(default_factory=dict)
    stuck: tuple[str, ...] = ()


class Search:
    """Plans, cuts and measures for one job."""

    def __init__(
        self,
        job: Job,
        bench: Bench,
        before: Amounts,
        bounded: Collection[str],
        *,
        log: Log,
        journal: Journal,
        thrifty: bool = False,
    ) -> None:
        """Calibrates what the budget needs.

        Args:
            job: what is asked.
            bench: has measured the original.
            before: the original's figures by quantity.
            bounded: the quantities that limits are given for.
            log: told of every stage.
            journal: where measurements are kept.
            thrifty: whether candidates are exported only where what is bounded follows from the file.
        """
        asked = {"latency", "cycles"} if isinstance(job.device, Measuring) else set()
        self._from_file = frozenset({"size"} | asked | job.device.reads)
        self._exports = not thrifty or bool(self._from_file & set(bounded))
        self._job, self._bench, self._before, self._bounded = job, bench, before, frozenset(bounded)
        self._log, self._journal = log, journal
        self._parameters = planning.parameters(bench.net)
        self._bytes = float(WEIGHT_BYTES)
        self._held = before["memory"] / max(1.0, bench.exact({})["memory"])
        self._last: tuple[Plan, Cut] | None = None
        self.costs: CostModel | None = None
        self._scale = 1.0
        self._steps: Callable[[str], int] | int = 1
        if isinstance(job.device, Estimating):
            multiples = alignments(bench.net, job.device.stairs)
            self._steps = lambda axis: multiples.get(axis, 1)
        if asked & self._bounded:
            with log.stage("plan", "calibrating the latency model"):
                entry = journal.once(
                    "calibration", lambda _: calibrate(bench, seed=job.seed, watch=log).record()
                )
                self.costs = CostModel.read(bench.net, entry.record)
                self._scale = before["latency"] / self.costs.latency_ms({})
                self._steps = self.costs.alignment

    def check(self, limits: Amounts, ground: Ground) -> None:
        """Makes sure that there is a plan for `limits`, as far as the models of costs can tell.

        Raises:
            PenjingError: PJ503, there is none.
        """
        self._plan(limits, ground)

    def run(self, limits: Amounts, ground: Ground, name: str = "plan") -> Found:
        """The largest network inside `limits`, by measurement where figures must be measured.

        Args:
            limits: per quantity.
            ground: what it is cut from.
            name: of this search in the journal; another for every search of a run.

        Raises:
            PenjingError: PJ503, none is inside.
        """
        self._last = None
        fresh = name not in self._journal
        entry = self._journal.once(name, lambda _: self._found(limits, ground, name), given=dict(limits))
        lines = tuple(CandidateLine.model_validate(line) for line in entry.record["candidates"])
        if not fresh:  # what was learnt on the way has to be learnt again, for searches that follow
            for line, counts in zip(lines, entry.record["counts"], strict=True):
                self._learn(counts, line.measured)
        plan = Plan.model_validate(entry.record["plan"])
        if self._last is not None and self._last[0] == plan:
            made = self._last[1]
        else:
            with self._log.stage("surgery", "cutting and proving"):
                made = cut(ground.net, plan)
        error = None if self.costs is None else self.costs.error
        return Found(plan, made, lines, error, entry.record["measured"])

    def _found(self, limits: Amounts, ground: Ground, name: str) -> dict[str, Any]:
        """The plan of those measured that is to be taken, and what was learnt of them all."""
        measured = count(1)
        found = adjust(
            limits,
            plan=lambda target: self._plan(target, ground),
            finer=[partial(self._plan, ground=ground, parts=parts) for parts in FINER],
            predict=self._predict,
            measure=lambda plan: self._measured(plan, ground, f"{name}-candidate-{next(measured)}"),
            aims={quantity: share for quantity, share in AIMS.items() if quantity in self._from_file},
        )
        chosen = best(found, lambda plan: _worth(self._bench.net, plan, ground.scores))
        if chosen is None:
            raise self._impossible(limits, ground, found)
        lines = [
            {"target": c.target, "predicted": c.predicted, "measured": c.measured, "within": c.used <= 1}
            for c in found
        ]
        return {
            "plan": chosen.plan.model_dump(mode="json"),
            "measured": dict(chosen.measured),
            "candidates": lines,
            "counts": [counts_of(self._bench.net, c.plan) for c in found],
        }

    def _allocator(self, ground: Ground, *, parts: int = 1) -> Allocator:
        """With the costs as they are known now, and steps divided by `parts`."""
        job, net = self._job, self._bench.net
        known: dict[str, Cost] = {
            "macs": planning.macs(net),
            "params": self._parameters,
            "size": self._size(),
            "memory": Affine(memory(self._bench.memory), slope=self._held),
            **(estimated(net, self._bench.estimate) if self._bench.estimate else {}),
        }
        if self.costs is not None:
            known["latency"] = latency(net, self.costs, self._scale)
        if "latency" in known and job.device.clock_hz is not None:
            known["cycles"] = Affine(known["latency"], slope=job.device.clock_hz / 1e3)
        return Allocator(
            net,
            ground.scores,
            {quantity: cost for quantity, cost in known.items() if quantity in self._bounded},
            steps=self._steps,
            parts=parts,
            share=ground.share,
            keep=job.keep,
            only=job.only,
            exact=ground.exact,
            within=ground.plan.kept,
            depth=job.depth,
            gone=ground.plan.dropped,
        )

    def _size(self) -> Affine:
        offset = self._before["size"] - self._bytes * self._before["params"]
        return Affine(self._parameters, slope=self._bytes, offset=offset)

    def _plan(self, limits: Amounts, ground: Ground, parts: int = 1) -> Plan:
        with self._log.stage("plan", "planning"):
            return self._allocator(ground, parts=parts).allocate(limits).plan

    def _predict(self, plan: Plan) -> Amounts:
        counts = counts_of(self._bench.net, plan)
        timed = self._bench.timed(self._scale * self.costs.latency_ms(counts)) if self.costs else {}
        exact = self._bench.exact(counts)
        memory = {"memory": self._held * exact["memory"]}
        return {**timed, **exact, **memory, "size": self._size().total(counts)}

    def _measured(self, plan: Plan, ground: Ground, name: str) -> Amounts:
        """What a plan comes to: measured once; what is learnt goes into the models."""
        kept = plan.model_dump(mode="json")
        amounts = self._journal.once(name, lambda _: self._measure(plan, ground), given=kept).record
        self._learn(counts_of(self._bench.net, plan), amounts)
        return amounts

    def _measure(self, plan: Plan, ground: Ground) -> dict[str, float]:
        """Cuts, exports, times."""
        counts = counts_of(self._bench.net, plan)
        with self._log.stage("surgery", "cutting and proving"):
            made = cut(ground.net, plan)
        amounts = self._bench.exact_of(made.model, plan)
        if self._exports:
            with self._log.stage("measure", "measuring a candidate"):
                artifact = self._bench.export(made.model, self._bench.folder / "candidate.onnx")
                timed = self._timed(artifact) if self.costs is not None else {}
                read = self._bench.read(artifact)
                self._bench.discard(artifact)
            amounts = {**timed, **amounts, **read}
        self._last = plan, made
        self._log.event("candidate", counts=counts, measured=amounts)
        return amounts

    def _learn(self, counts: Mapping[str, int], amounts: Amounts) -> None:
        """Takes a measured network into the models of latency, memory and size."""
        if self.costs is not None:
            self.costs.update([(counts, amounts["latency"] / self._scale)])
        if "memory" in self._from_file and amounts.get(
            "memory"
        ):  # none: all in registers, which tells nothing
            self._held = amounts["memory"] / max(1.0, self._bench.exact(counts)["memory"])
        fewer = self._before["params"] - amounts["params"]
        saved = self._before["size"] - amounts.get("size", self._before["size"])
        if fewer > 0 and saved > 0:  # of a handful of weights, the file may say more about its names
            self._bytes = saved / fewer

    def _timed(self, artifact: Artifact) -> dict[str, float]:
        """In ms of the session in which the original was first measured, so that limits stay comparable."""
        return self._bench.timed(self._before["latency"] * self._bench.pair(artifact).ratio)

    def _impossible(self, limits: Amounts, ground: Ground, found: list[Candidate[Plan]]) -> PenjingError:
        """What was measured says that the planner was too hopeful."""
        quantity = max(limits, key=lambda q: min(c.measured[q] for c in found) / limits[q])
        smallest = min(candidate.measured[quantity] for candidate in found)
        because = "every smaller network that was measured still takes more"
        try:
            self._allocator(ground).allocate({quantity: smallest * 1e-6})
        except PenjingError as error:
            because = error.because or because
        return PenjingError(
            "PJ503",
            f"{quantity} {written(quantity, limits[quantity])} cannot be met: "
            f"the smallest measured is {written(quantity, smallest)}",
            because=because,
            tries=[f"`{enough(quantity, smallest)}`"],
        )


def _worth(net: Network, plan: Plan, scores: Mapping[str, Tensor]) -> float:
    """What a plan keeps, in the units of the scores, but for a constant."""
    lost = sum(float(scores[name].sum()) for name in switched_off(net, plan))
    for name, kept in plan.kept.items():
        lost += float(scores[name].sum() - scores[name][list(kept)].sum())
    return -lost
