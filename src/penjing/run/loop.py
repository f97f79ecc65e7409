"""The loop: trace, score, plan, cut and prove, measure, adjust, recover, measure again."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

from penjing.criteria import collect, score
from penjing.devices import Artifact
from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.plan import Plan, Wishes, check_wishes
from penjing.recover import RecoveryRecord, Situation
from penjing.recover.seeding import seeded
from penjing.run.adjust import Amounts
from penjing.run.bench import Bench, Pair
from penjing.run.directory import staging, with_room
from penjing.run.files import write_model
from penjing.run.job import Job, Outcome
from penjing.run.progress import Log
from penjing.run.result import Ingredients, report_of
from penjing.run.search import Found, Search
from penjing.surgery import cut

TURNS = (1.0, 0.97, 0.94)
"""Shares of the latency's limit to plan for, the next where a finished network turned out to be outside."""


def run(job: Job) -> Outcome:
    """Does a job from beginning to end; what it writes lies in a folder that goes when the outcome does.

    Raises:
        PenjingError: whatever stands in the way, such as PJ602, no room on the disk; nothing is left behind.
    """
    folder = staging()
    try:
        with with_room(), (folder / "events.jsonl").open("w", encoding="utf-8") as events:
            outcome = _run(job, folder, Log(events))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(outcome, shutil.rmtree, folder, ignore_errors=True)
    return outcome


def _run(job: Job, folder: Path, log: Log) -> Outcome:
    with log.stage("trace", "tracing"):
        net = trace(job.model, job.example_inputs)
        check_wishes(net, Wishes(job.keep, job.only, job.exact, job.budget.share))
    with log.stage("measure", "measuring the original"):
        bench = Bench(net, job.device, folder)
        before = bench.amounts()
    limits = limits_of(job, before)
    recovered: tuple[RecoveryRecord, ...] = ()
    if _met(job, before, limits):
        with log.stage("surgery", "proving"):
            found = Found(Plan(), cut(net, Plan()), (), None)
        artifact = bench.export(found.cut.model, "model.onnx")
        pair = Pair(bench.alone, bench.alone)  # the same network: timing it twice would show noise
    else:
        search = _search(job, bench, before, log)
        for turn in TURNS:  # more than one is rare: noise hid that a candidate was too large
            found = search.run({q: limit * (turn if q == "latency" else 1) for q, limit in limits.items()})
            recovered = _recover(job, net, found, log)
            artifact, pair = _final(job, bench, found, log)
            if _inside(job, pair):
                break
        else:
            raise _too_noisy(job, pair)
    with log.stage("measure", "evaluating"):
        metrics = bench.metrics(job.evaluate, found.cut.model, artifact) if job.evaluate else None
    notes = write_model(job, net, found, folder)
    made = Ingredients(job, bench, found, recovered, artifact, pair, metrics, notes, log.seconds)
    report = report_of(made)
    (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
    return Outcome(found.cut.model, found.plan, report, found.cut.proof, folder)


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


def _search(job: Job, bench: Bench, before: Amounts, log: Log) -> Search:
    with log.stage("score", f"scoring units by {job.criterion.record.name}"), seeded(job.seed):
        statistics = collect(bench.net, job.criterion.record.needs, data=job.data, loss=job.loss)
        scores = score(bench.net, job.criterion, statistics, aggregate=job.aggregate, normalise=job.normalise)
    return Search(job, bench, scores, before, log)


def _recover(job: Job, net: Network, found: Found, log: Log) -> tuple[RecoveryRecord, ...]:
    situation = Situation(
        job.model, job.data, job.loss, job.evaluate, job.seed, log, net=net, plan=found.plan
    )
    records = []
    for step in job.recover:
        with log.stage("recover", "recovering"):
            records.append(step.apply(found.cut.model, situation))
        log.event("recovered", method=records[-1].method, seconds=records[-1].seconds)
    return tuple(records)


def _final(job: Job, bench: Bench, found: Found, log: Log) -> tuple[Artifact, Pair]:
    """Exports and times what is shipped; where it seems outside, the middle of three timings stands."""
    with log.stage("measure", "measuring the result"):
        artifact = bench.export(found.cut.model, "model.onnx")
        pairs = [bench.pair(artifact)]
        if not _inside(job, pairs[0]):
            pairs += [bench.pair(artifact), bench.pair(artifact)]
            pairs.sort(key=lambda pair: pair.ratio)
    return artifact, pairs[len(pairs) // 2]


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
