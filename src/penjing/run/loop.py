"""The loop: trace, score, plan, cut and prove, measure, adjust, recover, measure again."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from penjing import processes
from penjing.devices import Artifact
from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.plan import Plan, Wishes, check_wishes
from penjing.recover import RecoveryRecord, Situation, Step, measured
from penjing.run import crew
from penjing.run.adjust import Amounts
from penjing.run.aim import Aim, Way
from penjing.run.bench import Bench, Pair
from penjing.run.finish import finish
from penjing.run.ground import untouched
from penjing.run.job import Job, Outcome
from penjing.run.journal import Journal
from penjing.run.progress import Log
from penjing.run.reopen import reopened
from penjing.run.result import Ingredients, Metrics
from penjing.run.rounds import Rounds
from penjing.run.sealed import manifest_of
from penjing.run.search import Found, Search
from penjing.run.session import Session, lasting, temporary
from penjing.run.state import load_state, save_state
from penjing.surgery import cut

WEIGHTS: Final = "model.safetensors"

TURNS = (1.0, 0.97, 0.94)
"""Shares of the latency's limit to plan for, the next where a finished network turned out to be outside."""


@processes.together()
def run(job: Job, directory: Path | None = None) -> Outcome:
    """Does a job from beginning to end.

    Of several processes the first one leads; all are given the outcome.

    Args:
        job: what is asked.
        directory: where it is worked on and its result stands: where the same job was begun there, it goes
            on. None for a temporary folder that goes when the outcome does.

    Raises:
        PenjingError: whatever stands in the way. Without a directory, nothing is left behind.
        KeyboardInterrupt: it was stopped; likewise.
    """
    if not processes.is_first():
        return crew.follow(job)
    return crew.end(_led(job, directory))


def _led(job: Job, directory: Path | None) -> Outcome:
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
    check_floor(job)
    with log.stage("trace", "tracing"):
        net = trace(job.model, job.example_inputs)
        check_wishes(net, Wishes(job.keep, job.only, job.exact, job.budget.share, depth=job.depth))
    with log.stage("measure", "measuring the original"):
        bench = Bench(net, job.device, journal, data=job.data)
        before = bench.amounts()
    limits = limits_of(job, before)
    floor = floor_of(job, journal, log)
    if _met(job, before, limits):
        with log.stage("surgery", "proving"):
            found = Found(Plan(), cut(net, Plan()), (), None)
        artifact, pair = _final(job, bench, found, log, journal, "unchanged", same=True)
        metrics = _metrics(job, bench, found, artifact, log, journal)
        made = Ingredients(job, bench, found, (), artifact, pair, metrics)
    elif job.schedule is None and job.budget.floor is None:
        made = _at_once(session, bench, before, limits)
    else:
        made = _by_rounds(session, bench, before, limits, floor)
    report = finish(made, session)
    found = made.found
    return Outcome(found.cut.model, found.plan, report, found.cut.proof, journal.folder)


def _at_once(session: Session, bench: Bench, before: Amounts, limits: Amounts) -> Ingredients:
    """A single cut, from the original to the budget."""
    job, journal, log = session.job, session.journal, session.log
    ground = untouched(session, bench.net, Aim(limits, job.budget.share, job.exact))
    search = Search(job, bench, before, limits, log=log, journal=journal)
    for number, turn in enumerate(TURNS, 1):  # more than one is rare: noise hid that one was too large
        prefix = f"turn-{number}-" if number > 1 else ""
        found = search.run(
            {q: limit * (turn if q == "latency" else 1) for q, limit in limits.items()},
            ground,
            f"{prefix}plan",
        )
        recovered = _recover(job, bench.net, log, journal, found, job.recover, prefix)
        artifact, pair = _final(job, bench, found, log, journal, f"{prefix}result")
        if _inside(job, pair):
            break
    else:
        journal.discard("result")  # who goes on from here wants other timings
        raise _too_noisy(job, pair)
    metrics = _metrics(job, bench, found, artifact, log, journal)
    return Ingredients(job, bench, found, recovered, artifact, pair, metrics)


def _by_rounds(
    session: Session, bench: Bench, before: Amounts, limits: Amounts, floor: float | None
) -> Ingredients:
    """A little at a time, to the budget, or as far as the floor holds."""
    job, journal, log = session.job, session.journal, session.log
    way = Way(job, before, limits, {axis.name: axis.size for axis in bench.net.axes})
    search = Search(job, bench, before, way.bounded, log=log, journal=journal, thrifty=True)
    recover = partial(_recover, job, bench.net, log, journal)
    rounds = Rounds(session, bench.net, way, search, recover, floor)
    held, turns = rounds.run(), 1
    while held:
        last = held.pop()
        found, recovered = last.found, rounds.lines[last.name].recovery
        if way.schedule.steps is not None:
            recovered += recover(found, job.recover, f"{last.name}-last-")
        arrived = last.place == way.ends
        artifact, pair = _final(job, bench, found, log, journal, f"{last.name}-result", free=not arrived)
        if arrived and not _inside(job, pair):
            if turns == len(TURNS):
                journal.discard(f"{last.name}-result")
                raise _too_noisy(job, pair)
            here, tighter, turns = held[-1] if held else None, TURNS[turns], turns + 1
            again = rounds.round(f"turn-{turns}", here, last.place, tighter=tighter)
            held += [again] if rounds.holds(again) else []
            continue
        metrics = _metrics(job, bench, found, artifact, log, journal, f"{last.name}-metrics")
        if job.budget.floor is None or (metrics and metrics[1] >= job.budget.floor.limit(metrics[0])):
            lines = {**rounds.lines, last.name: rounds.lines[last.name].model_copy(update={"shipped": True})}
            short = (
                () if arrived or not way.ends else (f"the budget is not met: {job.budget.floor} goes first",)
            )
            return Ingredients(
                job, bench, found, recovered, artifact, pair, metrics, [*lines.values()], short
            )
        log.event("floor", name=last.name, metric=metrics and metrics[1])
    raise rounds.never_held()


def check_floor(job: Job) -> None:
    """Makes sure that a floor can be held against something.

    Raises:
        PenjingError: PJ513, nothing tells the metric.
    """
    if job.budget.floor is not None and job.evaluate is None:
        raise PenjingError(
            "PJ513",
            f"`{job.budget.floor}` cannot be held: nothing tells the metric",
            because="there is no `evaluate`",
            tries=["pj.prune(..., evaluate=accuracy)", "pj.Task(..., evaluate=accuracy) in a task file"],
        )


def floor_of(job: Job, journal: Journal, log: Log) -> float | None:
    """The least metric that modules may come to; None where there is no floor.

    Raises:
        PenjingError: PJ514, the original itself does not hold the floor; PJ315, `evaluate` fails.
    """
    floor, evaluate = job.budget.floor, job.evaluate
    if floor is None:
        return None
    assert evaluate is not None
    with log.stage("measure", "evaluating the original"):
        entry = journal.once("metric", lambda _: {"metric": measured(evaluate, job.model)})
    before = float(entry.record["metric"])
    if not before >= floor.limit(before):
        raise PenjingError(
            "PJ514",
            f"`{floor}` is above the metric of the original, {before:.4g}",
            because=f"a share of a metric below zero lies above it: {floor.limit(before):.4g}"
            if before < 0 and floor.relative
            else "a smaller network is not asked to be better than it",
            tries=["`metric>=0.99x` for a share of it" if before > 0 else f"`metric>={before - 0.1:.4g}`"],
        )
    return floor.limit(before)


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
    if not job.budget.bounds:
        return False
    share = job.budget.share
    inside = all(before[quantity] <= limit for quantity, limit in limits.items())
    return inside and (share is None or share >= 1) and not job.exact


def _recover(
    job: Job, net: Network, log: Log, journal: Journal, found: Found, steps: Sequence[Step], prefix: str
) -> tuple[RecoveryRecord, ...]:
    """Step by step; the weights after each are kept."""
    model, records = found.cut.model, []

    def apply(step: Step, name: str, folder: Path) -> dict[str, Any]:
        situation = Situation(
            job.model, job.data, job.loss, job.evaluate, job.seed, log,
            net=net, plan=found.plan, checkpoint=journal.checkpoint(name),
        )  # fmt: skip
        with log.stage("recover", "recovering"):
            record = crew.recover(job, step, model, found.plan, situation)
        log.event("recovered", method=record.method, seconds=record.seconds)
        save_state(model, folder / WEIGHTS)
        return record.model_dump(mode="json")

    for number, step in enumerate(steps, 1):
        name = f"{prefix}recover-{number}-{type(step).__name__}"
        entry = journal.once(name, partial(apply, step, name))
        load_state(model, entry.folder / WEIGHTS)
        records.append(RecoveryRecord.model_validate(entry.record))
    return tuple(records)


def _final(
    job: Job,
    bench: Bench,
    found: Found,
    log: Log,
    journal: Journal,
    name: str,
    *,
    same: bool = False,
    free: bool = False,
) -> tuple[Artifact, Pair]:
    """Exports and times what is shipped; where it seems outside, the middle of three timings stands.

    `same` says that it is the original, `free` that it need not be inside.
    """

    def timed(folder: Path) -> dict[str, Any]:
        artifact = bench.export(found.cut.model, folder / "model.onnx", draft=False)
        if same:  # timing the same network twice would show noise
            return {"artifact": artifact.record(), "pair": Pair(bench.alone, bench.alone).record()}
        pairs = [bench.pair(artifact)]
        if not free and not _inside(job, pairs[0]):
            pairs += [bench.pair(artifact), bench.pair(artifact)]
            pairs.sort(key=lambda pair: pair.ratio)
        return {"artifact": artifact.record(), "pair": pairs[len(pairs) // 2].record()}

    with log.stage("measure", "measuring the result"):
        entry = journal.once(name, timed)
    return Artifact.read(entry.record["artifact"], entry.folder), Pair.read(entry.record["pair"])


def _metrics(
    job: Job,
    bench: Bench,
    found: Found,
    artifact: Artifact,
    log: Log,
    journal: Journal,
    name: str = "metrics",
) -> Metrics | None:
    """The user's figure of merit, before and after; None where there is none."""
    evaluate = job.evaluate
    if evaluate is None:
        return None
    with log.stage("measure", "evaluating"):
        entry = journal.once(name, lambda _: {"metrics": bench.metrics(evaluate, found.cut.model, artifact)})
    before, after, of, note = entry.record["metrics"]
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
