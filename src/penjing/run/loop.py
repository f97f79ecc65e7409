"""The loop: trace, score, plan, cut and prove, measure, adjust, recover, measure again."""

from __future__ import annotations

import shutil
import weakref
from functools import partial
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file

from penjing.criteria import collect, score
from penjing.devices import Artifact
from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.plan import Plan, Wishes, check_wishes
from penjing.recover import RecoveryRecord, Situation, Step
from penjing.run.adjust import Amounts
from penjing.run.bench import Bench, Pair
from penjing.run.finish import finish
from penjing.run.job import Job, Outcome
from penjing.run.journal import Journal
from penjing.run.progress import Log
from penjing.run.reopen import reopened
from penjing.run.result import Ingredients, Metrics
from penjing.run.sealed import manifest_of
from penjing.run.search import Found, Search
from penjing.run.session import Session, lasting, temporary
from penjing.run.state import load_state, save_state, write_tensors
from penjing.surgery import cut

SCORES: Final = "scores.safetensors"
WEIGHTS: Final = "model.safetensors"

TURNS = (1.0, 0.97, 0.94)
"""Shares of the latency's limit to plan for, the next where a finished network turned out to be outside."""


def run(job: Job, directory: Path | None = None) -> Outcome:
    """Does a job from beginning to end.

    Args:
        job: what is asked.
        directory: where it is worked on and its result stands: where the same job was begun there, it goes
            on. None for a temporary folder that goes when the outcome does.

    Raises:
        PenjingError: whatever stands in the way. Without a directory, nothing is left behind.
        KeyboardInterrupt: it was stopped; likewise.
    """
    if directory is None:
        with temporary(job) as session:
            outcome = _run(session)
        weakref.finalize(outcome, shutil.rmtree, outcome.folder, ignore_errors=True)
        return outcome
    if manifest_of(directory) is not None:
        return reopened(job, directory)
    with lasting(job, directory) as session:
        return _run(session)


def _run(session: Session) -> Outcome:
    job, journal, log = session.job, session.journal, session.log
    with log.stage("trace", "tracing"):
        net = trace(job.model, job.example_inputs)
        check_wishes(net, Wishes(job.keep, job.only, job.exact, job.budget.share))
    with log.stage("measure", "measuring the original"):
        bench = Bench(net, job.device, journal)
        before = bench.amounts()
    limits = limits_of(job, before)
    recovered: tuple[RecoveryRecord, ...] = ()
    if _met(job, before, limits):
        with log.stage("surgery", "proving"):
            found = Found(Plan(), cut(net, Plan()), (), None)
        artifact, pair = _final(job, bench, found, log, journal, "unchanged", same=True)
    else:
        search = _search(job, bench, before, log, journal)
        for number, turn in enumerate(TURNS, 1):  # more than one is rare: noise hid that one was too large
            prefix = f"turn-{number}-" if number > 1 else ""
            found = search.run(
                {q: limit * (turn if q == "latency" else 1) for q, limit in limits.items()}, f"{prefix}plan"
            )
            recovered = _recover(job, net, found, log, journal, prefix)
            artifact, pair = _final(job, bench, found, log, journal, f"{prefix}result")
            if _inside(job, pair):
                break
        else:
            journal.discard("result")  # who goes on from here wants other timings
            raise _too_noisy(job, pair)
    metrics = _metrics(job, bench, found, artifact, log, journal) if job.evaluate else None
    made = Ingredients(job, bench, found, recovered, artifact, pair, metrics)
    report = finish(made, session)
    return Outcome(found.cut.model, found.plan, report, found.cut.proof, journal.folder)


def limits_of(job: Job, before: Amounts) -> dict[str, float]:
    """The budget in absolute amounts.

    Raises:
        PenjingError: PJ510, a bound on a figure that the device does not tell.
    """
    for bound in job.budget.bounds:
        if bound.quantity not in before and bound.quantity != "units":
            name = job.device.record()["name"]
            raise PenjingError(
                "PJ510",
                f"`{bound}` cannot be checked on device `{name}`",
                because=f"it tells no {bound.quantity}",
                tries=["--device cpu", *(f"a budget of {quantity}" for quantity in before)],
            )
    return job.budget.limits(before)


def _met(job: Job, before: Amounts, limits: Amounts) -> bool:
    """Whether the original is inside already, and nothing is asked for by hand."""
    share = job.budget.share
    inside = all(before[quantity] <= limit for quantity, limit in limits.items())
    return inside and (share is None or share >= 1) and not job.exact


def _search(job: Job, bench: Bench, before: Amounts, log: Log, journal: Journal) -> Search:
    def scored(folder: Path) -> dict[str, Any]:
        statistics = collect(bench.net, job.criterion.record.needs, data=job.data, loss=job.loss)
        scores = score(bench.net, job.criterion, statistics, aggregate=job.aggregate, normalise=job.normalise)
        write_tensors(scores, folder / SCORES, {})
        return {}

    with log.stage("score", f"scoring units by {job.criterion.record.name}"):
        scores = load_file(journal.once("scores", scored).folder / SCORES)
    return Search(job, bench, scores, before, log=log, journal=journal)


def _recover(
    job: Job, net: Network, found: Found, log: Log, journal: Journal, prefix: str
) -> tuple[RecoveryRecord, ...]:
    """Step by step; the weights after each are kept."""
    model, records = found.cut.model, []

    def apply(step: Step, name: str, folder: Path) -> dict[str, Any]:
        situation = Situation(
            job.model, job.data, job.loss, job.evaluate, job.seed, log,
            net=net, plan=found.plan, checkpoint=journal.checkpoint(name),
        )  # fmt: skip
        with log.stage("recover", "recovering"):
            record = step.apply(model, situation)
        log.event("recovered", method=record.method, seconds=record.seconds)
        save_state(model, folder / WEIGHTS)
        return record.model_dump(mode="json")

    for number, step in enumerate(job.recover, 1):
        name = f"{prefix}recover-{number}-{type(step).__name__}"
        entry = journal.once(name, partial(apply, step, name))
        load_state(model, entry.folder / WEIGHTS)
        records.append(RecoveryRecord.model_validate(entry.record))
    return tuple(records)


def _final(
    job: Job, bench: Bench, found: Found, log: Log, journal: Journal, name: str, *, same: bool = False
) -> tuple[Artifact, Pair]:
    """Exports and times what is shipped; where it seems outside, the middle of three timings stands."""

    def timed(folder: Path) -> dict[str, Any]:
        artifact = bench.export(found.cut.model, folder / "model.onnx")
        if same:  # timing the same network twice would show noise
            return {"artifact": artifact.record(), "pair": Pair(bench.alone, bench.alone).record()}
        pairs = [bench.pair(artifact)]
        if not _inside(job, pairs[0]):
            pairs += [bench.pair(artifact), bench.pair(artifact)]
            pairs.sort(key=lambda pair: pair.ratio)
        return {"artifact": artifact.record(), "pair": pairs[len(pairs) // 2].record()}

    with log.stage("measure", "measuring the result"):
        entry = journal.once(name, timed)
    return Artifact.read(entry.record["artifact"], entry.folder), Pair.read(entry.record["pair"])


def _metrics(job: Job, bench: Bench, found: Found, artifact: Artifact, log: Log, journal: Journal) -> Metrics:
    """The user's figure of merit, before and after."""

    def measured(_: Path) -> dict[str, Any]:
        assert job.evaluate is not None
        return {"metrics": bench.metrics(job.evaluate, found.cut.model, artifact)}

    with log.stage("measure", "evaluating"):
        before, after, of, note = journal.once("metrics", measured).record["metrics"]
    return before, after, of, note


def _inside(job: Job, pair: Pair) -> bool:
    """Whether a bound on latency, if there is one, holds by this timing."""
    bound = next((bound for bound in job.budget.bounds if bound.quantity == "latency"), None)
    if bound is None or pair.before is None or pair.after is None:
        return True
    return pair.after.latency_ms <= bound.limit({"latency": pair.before.latency_ms})


def _too_noisy(job: Job, pair: Pair) -> PenjingError:
    assert pair.before is not None
    assert pair.after is not None
    bound = next(bound for bound in job.budget.bounds if bound.quantity == "latency")
    limit = bound.limit({"latency": pair.before.latency_ms})
    return PenjingError(
        "PJ511",
        f"the finished network takes {pair.after.latency_ms:.4g} ms, and {limit:.4g} ms are allowed",
        because="timings on this machine vary by more than the margin that was left",
        tries=["run again when the machine is less busy", "a slightly tighter budget"],
    )
