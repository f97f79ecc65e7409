"""The search for a plan that is measured to be inside the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Tensor

from penjing import plan as planning
from penjing.devices import Artifact, CostError, CostModel
from penjing.errors import PenjingError
from penjing.plan import Affine, Allocator, Cost, Plan
from penjing.plan.quantity import enough, written
from penjing.report import CandidateLine
from penjing.run.adjust import Amounts, Candidate, adjust, best
from penjing.run.bench import Bench
from penjing.run.calibration import calibrate
from penjing.run.job import Job
from penjing.run.journal import Journal
from penjing.run.pricing import latency, memory
from penjing.run.progress import Log
from penjing.surgery import Cut, cut

WEIGHT_BYTES = 4
"""Of an exported weight, until an artifact tells it better."""


@dataclass(frozen=True)
class Found:
    """The search's answer.

    Attributes:
        plan: what to keep.
        cut: the network so cut, proven.
        candidates: what was measured on the way.
        error: of the latency model; None where no latency had to be predicted.
    """

    plan: Plan
    cut: Cut
    candidates: tuple[CandidateLine, ...]
    error: CostError | None


class Search:
    """Plans, cuts and measures for one job."""

    def __init__(
        self,
        job: Job,
        bench: Bench,
        scores: Mapping[str, Tensor],
        before: Amounts,
        *,
        log: Log,
        journal: Journal,
    ) -> None:
        """Calibrates what the budget needs.

        Args:
            job: what is asked.
            bench: has measured the original.
            scores: worth of every unit.
            before: the original's figures by quantity.
            log: told of every stage.
            journal: where measurements are kept.
        """
        self._job, self._bench, self._scores, self._before = job, bench, scores, before
        self._log, self._journal, self._net = log, journal, bench.net
        self._parameters = planning.parameters(self._net)
        self._bytes = float(WEIGHT_BYTES)
        self._last: tuple[Plan, Cut] | None = None
        self.costs: CostModel | None = None
        self._scale = 1.0
        if any(bound.quantity == "latency" for bound in job.budget.bounds):
            with log.stage("plan", "calibrating the latency model"):
                entry = journal.once(
                    "calibration", lambda _: calibrate(bench, seed=job.seed, watch=log).record()
                )
                self.costs = CostModel.read(self._net, entry.record)
                self._scale = before["latency"] / self.costs.latency_ms({})

    def run(self, limits: Amounts, name: str = "plan") -> Found:
        """The largest network inside `limits`, by measurement where figures must be measured.

        Args:
            limits: per quantity.
            name: of this search in the journal; another for every search of a run.

        Raises:
            PenjingError: PJ503, none is inside.
        """
        self._last = None
        fresh = name not in self._journal
        entry = self._journal.once(name, lambda _: self._found(limits, name), given=dict(limits))
        lines = tuple(CandidateLine.model_validate(line) for line in entry.record["candidates"])
        if not fresh:  # what was learnt on the way has to be learnt again, for searches that follow
            for line, counts in zip(lines, entry.record["counts"], strict=True):
                self._learn(counts, line.measured)
        plan = Plan.model_validate(entry.record["plan"])
        if self._last is not None and self._last[0] == plan:
            made = self._last[1]
        else:
            with self._log.stage("surgery", "cutting and proving"):
                made = cut(self._net, plan)
        return Found(plan, made, lines, None if self.costs is None else self.costs.error)

    def _found(self, limits: Amounts, name: str) -> dict[str, Any]:
        """The plan of those measured that is to be taken, and what was learnt of them all."""
        measured = count(1)
        found = adjust(
            limits,
            plan=self._plan,
            predict=self._predict,
            measure=lambda plan: self._measured(plan, f"{name}-candidate-{next(measured)}"),
        )
        chosen = best(found, self._worth)
        if chosen is None:
            raise self._impossible(limits, found)
        lines = [
            {"target": c.target, "predicted": c.predicted, "measured": c.measured, "within": c.used <= 1}
            for c in found
        ]
        return {
            "plan": chosen.plan.model_dump(mode="json"),
            "candidates": lines,
            "counts": [c.plan.counts() for c in found],
        }

    def _worth(self, plan: Plan) -> float:
        """What a plan keeps, in the units of the scores."""
        lost = 0.0
        for name, kept in plan.kept.items():
            scores = self._scores[name]
            lost += float(scores.sum() - scores[list(kept)].sum())
        return -lost

    def _allocator(self) -> Allocator:
        """With the costs as they are known now."""
        job, net = self._job, self._net
        known: dict[str, Cost] = {
            "macs": planning.macs(net),
            "params": self._parameters,
            "size": self._size(),
            "memory": memory(self._bench.memory),
        }
        bounded = {bound.quantity for bound in job.budget.bounds}
        if self.costs is not None:
            known["latency"] = latency(net, self.costs, self._scale)
        return Allocator(
            net,
            self._scores,
            {quantity: cost for quantity, cost in known.items() if quantity in bounded},
            steps=self.costs.alignment if self.costs is not None else 1,
            share=job.budget.share,
            keep=job.keep,
            only=job.only,
            exact=job.exact,
        )

    def _size(self) -> Affine:
        offset = self._before["size"] - self._bytes * self._before["params"]
        return Affine(self._parameters, slope=self._bytes, offset=offset)

    def _plan(self, limits: Amounts) -> Plan:
        with self._log.stage("plan", "planning"):
            return self._allocator().allocate(limits).plan

    def _predict(self, plan: Plan) -> Amounts:
        counts = plan.counts()
        latency = {"latency": self._scale * self.costs.latency_ms(counts)} if self.costs else {}
        return {**latency, **self._bench.exact(counts), "size": self._size().total(counts)}

    def _measured(self, plan: Plan, name: str) -> Amounts:
        """What a plan comes to: measured once; what is learnt goes into the models."""
        kept = plan.model_dump(mode="json")
        amounts = self._journal.once(name, lambda _: self._measure(plan), given=kept).record
        self._learn(plan.counts(), amounts)
        return amounts

    def _measure(self, plan: Plan) -> dict[str, float]:
        """Cuts, exports, times."""
        counts = plan.counts()
        with self._log.stage("surgery", "cutting and proving"):
            made = cut(self._net, plan)
        with self._log.stage("measure", "measuring a candidate"):
            artifact = self._bench.export(made.model, self._bench.folder / "candidate.onnx")
            latency = self._latency(artifact) if self.costs is not None else {}
            self._bench.discard(artifact)
        self._last = plan, made
        amounts = {**latency, **self._bench.exact(counts), "size": float(artifact.size_bytes)}
        self._log.event("candidate", counts=counts, measured=amounts)
        return amounts

    def _learn(self, counts: Mapping[str, int], amounts: Amounts) -> None:
        """Takes a measured network into the models of latency and size."""
        if self.costs is not None:
            self.costs.update([(counts, amounts["latency"] / self._scale)])
        fewer = self._before["params"] - amounts["params"]
        if fewer > 0:
            self._bytes = (self._before["size"] - amounts["size"]) / fewer

    def _latency(self, artifact: Artifact) -> dict[str, float]:
        """In ms of the session in which the original was first measured, so that limits stay comparable."""
        return {"latency": self._before["latency"] * self._bench.pair(artifact).ratio}

    def _impossible(self, limits: Amounts, found: list[Candidate[Plan]]) -> PenjingError:
        """What was measured says that the planner was too hopeful."""
        quantity = max(limits, key=lambda q: min(c.measured[q] for c in found) / limits[q])
        smallest = min(candidate.measured[quantity] for candidate in found)
        because = "every smaller network that was measured still takes more"
        try:
            self._allocator().allocate({quantity: smallest * 1e-6})
        except PenjingError as error:
            because = error.because or because
        return PenjingError(
            "PJ503",
            f"{quantity} {written(quantity, limits[quantity])} cannot be met: "
            f"the smallest measured is {written(quantity, smallest)}",
            because=because,
            tries=[f"`{enough(quantity, smallest)}`"],
        )
