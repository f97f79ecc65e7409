"""From what a run found to its report."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

import torch

from penjing.devices import Artifact, Prices, Roofline
from penjing.devices.processor import cpu_name
from penjing.devices.sheet import ELEMENT_BYTES
from penjing.network import Network
from penjing.plan import FLOOR, METRIC, Bound, Plan, inside
from penjing.plan.quantity import written
from penjing.recover import RecoveryRecord
from penjing.report import (
    AxisLine,
    BudgetLine,
    DeviceFigures,
    ExportLine,
    Figures,
    MetricOf,
    ProofLine,
    Report,
    RoundLine,
)
from penjing.run.bench import Bench, Pair
from penjing.run.job import Job
from penjing.run.progress import STAGES
from penjing.run.search import Found

Metrics = tuple[float, float, MetricOf, str]

_PROVENANCE: Mapping[str, str] = {"latency": "measured", "size": "measured"}


@dataclass(frozen=True)
class Ingredients:
    """What a report is made of.

    Attributes:
        job: as given.
        bench: measured it all.
        found: by the search.
        recovery: step by step.
        artifact: what is shipped.
        pair: original and artifact, timed together after recovery.
        metrics: before, after, of what, and a note; None without `evaluate`.
        rounds: where it was cut in rounds, all of them.
        notes: on the result, and from writing the files.
        seconds: by stage.
    """

    job: Job
    bench: Bench
    found: Found
    recovery: Sequence[RecoveryRecord]
    artifact: Artifact
    pair: Pair
    metrics: Metrics | None
    rounds: Sequence[RoundLine] = ()
    notes: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def report_of(made: Ingredients) -> Report:
    """The report of a run."""
    job, bench, found = made.job, made.bench, made.found
    metrics = made.metrics
    before = bench.figures(
        bench.original, made.pair.before, bench.exact({}), metrics and (metrics[0], metrics[2])
    )
    after = bench.figures(
        made.artifact,
        made.pair.after,
        bench.exact_of(found.cut.model, found.plan),
        metrics and (metrics[1], metrics[2]),
    )
    proof = found.cut.proof
    return Report(
        penjing=metadata.version("penjing"),
        model=type(job.model).__name__,
        fallback=found.cut.fallback,
        device=device_of(job, made.pair),
        seed=job.seed,
        budget=budget_lines(job, bench, found.plan, before, after),
        before=before,
        after=after,
        proof=ProofLine(
            max_error=proof.max_error, tolerance=proof.tolerance, dtype=proof.dtype, passed=proof.passed
        ),
        axes=axis_lines(bench.net, found.plan),
        dropped=found.plan.dropped,
        opaque_operators=tuple(bench.net.opaque),
        criterion=job.why,
        recovery=tuple(made.recovery),
        rounds=tuple(made.rounds),
        candidates=found.candidates,
        export=export_of(made.artifact),
        costs=costs_of(found),
        seconds={stage: round(made.seconds.get(stage, 0.0), 3) for stage in STAGES},
        environment=environment(),
        notes=(
            *narrow(bench.net, found.plan, job),
            *([bench.formless] if bench.formless else []),
            *unlike(job, after),
            *job.device.remarks(made.artifact.path),
            *made.notes,
            *([metrics[3]] if metrics and metrics[3] else []),
        ),
    )


def budget_lines(
    job: Job, bench: Bench, plan: Plan, before: Figures, after: Figures
) -> tuple[BudgetLine, ...]:
    """Every bound with what came of it; shares are those of the original as measured beside the result."""
    limits = job.budget.limits(amounts_of(before))
    achieved = amounts_of(after)
    lines = []
    for bound in job.budget.bounds:
        name = bound.quantity
        if name == "units":
            share, met = units_kept(bench.net, plan, bound.value)
            lines.append(_line(bound, bound.value, share, "exact", within=met))
            continue
        provenance, error = _known(job, bench.estimate, name)
        within = achieved[name] <= limits[name]
        lines.append(_line(bound, limits[name], achieved[name], provenance, within=within, error=error))
    floor = job.budget.floor
    if floor is not None and before.metric is not None and after.metric is not None:
        limit = floor.limit(before.metric)
        held = after.metric >= limit
        lines.append(
            BudgetLine(
                quantity=METRIC,
                asked=floor.text,
                limit=limit,
                achieved=after.metric,
                met=held,
                within=held,
                provenance="measured",
            )
        )
    return tuple(lines)


def _known(job: Job, estimate: Prices | None, quantity: str) -> tuple[str, float | None]:
    """How a quantity is known, and the band around it where a device estimates it."""
    device = job.device
    error = device.error if estimate is None else estimate.band
    if error is not None and quantity in ("latency", "cycles", "energy"):
        return device.provenance, error
    if quantity in device.reads:
        return device.reads_provenance, error if device.reads_provenance == "analytic" else None
    return _PROVENANCE.get(quantity, "analytic"), None


def _line(
    bound: Bound, limit: float, achieved: float, provenance: str, *, within: bool, error: float | None = None
) -> BudgetLine:
    return BudgetLine(
        quantity=bound.quantity,
        asked=bound.text,
        limit=limit,
        achieved=achieved,
        met=within and error is None,
        within=within,
        provenance=provenance,
        error=error,
    )


def amounts_of(figures: Figures) -> dict[str, float]:
    """Figures by quantity of a budget."""
    told = {"latency": figures.latency_ms, "cycles": figures.cycles, "energy": figures.energy_mj}
    return {
        **{quantity: value for quantity, value in told.items() if value is not None},
        "macs": float(figures.macs),
        "params": float(figures.params),
        "size": float(figures.size_bytes),
        "memory": float(figures.peak_memory_bytes),
    }


def narrow(net: Network, plan: Plan, job: Job) -> list[str]:
    """That axes keep less than they usually do at least, since the budget could not be met otherwise."""
    least = {axis.name: math.ceil(FLOOR * axis.size - 1e-9) for axis in net.prunable}
    share = job.budget.share
    names = [
        f"`{name}` ({count} of {net.axis(name).size})"
        for name, count in plan.counts().items()
        if count < least[name] and name not in job.exact and (share is None or share >= FLOOR)
    ]
    if not names:
        return []
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    listed = ", ".join(names[:4]) + more
    return [f"below a tenth of their units, since the budget cannot be met otherwise: {listed}"]


def unlike(job: Job, after: Figures) -> list[str]:
    """What a device that is only estimated asks beyond the artifact as it is."""
    if not isinstance(job.device, Roofline):
        return []
    sheet, notes = job.device.sheet, []
    share = 1.0 if job.device.reads else ELEMENT_BYTES[sheet.precision] / ELEMENT_BYTES["float32"]
    if share < 1:
        notes.append(
            f"`{sheet.name}` is estimated to run the network in {sheet.precision}; the artifact is float32"
        )
    for what, room, taken in (
        ("activations", sheet.memory.ram_kb, after.peak_memory_bytes),
        ("the artifact", sheet.memory.flash_kb, after.size_bytes),
    ):
        if room is not None and taken * share > room * 1e3:
            notes.append(
                f"{what} in {sheet.precision} take about {written('size', taken * share)}, "
                f"and `{sheet.name}` has {written('size', room * 1e3)}"
            )
    return notes


def units_kept(net: Network, plan: Plan, share: float) -> tuple[float, bool]:
    """The share of units that stays in the plan's axes, and whether each keeps the number nearest `share`."""
    sizes = {name: net.axis(name).size for name in plan.kept} or {
        axis.name: axis.size for axis in net.prunable
    }
    counts = {**sizes, **plan.counts()}
    met = all(counts[name] <= max(1.0, share * size + 0.5) for name, size in sizes.items())
    return sum(counts.values()) / max(1, sum(sizes.values())), met


def axis_lines(net: Network, plan: Plan) -> tuple[AxisLine, ...]:
    """What became of every axis."""
    counts = {**plan.counts(), **dict.fromkeys(inside(net, plan), 0)}
    return tuple(
        AxisLine(
            name=axis.name,
            size=axis.size,
            kept=counts.get(axis.name, axis.size),
            frozen=axis.frozen is not None,
            reason=axis.frozen,
        )
        for axis in net.axes
    )


def device_of(job: Job, pair: Pair) -> DeviceFigures:
    """The device and the clock that latencies were read by."""
    record = job.device.record()
    named = ("name", "runtime", "threads", "provenance")
    return DeviceFigures(
        name=record["name"],
        runtime=record["runtime"],
        threads=record["threads"],
        basis=pair.after.basis if pair.after else None,
        provenance=job.device.provenance,
        details={key: value for key, value in record.items() if key not in named},
    )


def export_of(artifact: Artifact) -> ExportLine:
    """The artifact's own record."""
    agrees = (
        [] if artifact.agrees else [f"differs from PyTorch by {artifact.agreement:.1e} of the largest output"]
    )
    return ExportLine(
        format=artifact.form,
        dynamic_batch=not artifact.static,
        agreement=artifact.agreement,
        notes=(*([f"the batch is fixed: {artifact.static}"] if artifact.static else []), *agrees),
    )


def costs_of(found: Found) -> dict[str, float]:
    """The cost model's error, where there was one."""
    error = found.error
    if error is None:
        return {}
    return {"median": error.median, "worst": error.worst, "networks": float(error.networks)}


def environment() -> dict[str, str]:
    """Versions and machine."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "onnx", "onnxruntime")}
    return {
        "python": platform.python_version(),
        **packages,
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "torch_threads": str(torch.get_num_threads()),
        "system": platform.platform(),
    }
