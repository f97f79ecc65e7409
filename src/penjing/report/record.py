"""The record of a run, `report.json`: the single source of every figure (docs/reference/report-schema.md)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penjing.recover import RecoveryRecord

MetricOf = Literal["onnx", "pt2", "aoti.pt2", "tflite", "pte", "hls.zip", "pytorch"]
"""What a metric is of: the exported file, or the module."""


class Record(BaseModel):
    """A part of the report: immutable, and closed, so that a file of another schema is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class DeviceFigures(Record):
    """The device that latencies hold for.

    Attributes:
        name: as in `penjing devices`.
        runtime: what ran the artifact, with its version.
        threads: how many it was allowed.
        basis: the clock behind `latency_ms`: "wall", or "cpu" for one thread on a busy machine.
        provenance: how latencies came about: "measured", "analytic" ...
        details: whatever else the device says of itself.
    """

    name: str
    runtime: str
    threads: int
    basis: Literal["wall", "cpu"] | None
    provenance: str
    details: dict[str, Any] = Field(default_factory=dict)


class BudgetLine(Record):
    """One bound, and what came of it.

    Attributes:
        quantity: latency, cycles, energy, macs, params, size, memory, units, or metric for the floor.
        asked: as the user wrote it.
        limit: absolute: ms, cycles, mJ, operations, elements, bytes; for units the share to keep; for the
            metric the least that is allowed.
        achieved: likewise.
        within: whether `achieved` is within `limit`; the metric, not below it.
        met: the same, but never of what a device only estimates.
        provenance: "measured", "compiler", "analytic" or "exact".
        error: relative half-width of the band around what is estimated; None where nothing is.
    """

    quantity: str
    asked: str
    limit: float
    achieved: float
    met: bool
    provenance: str
    within: bool = True
    error: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _within(cls, given: Any) -> Any:
        """A report of before there were estimates says it by `met`."""
        return {"within": given["met"], **given} if isinstance(given, dict) and "met" in given else given


class Figures(Record):
    """A model in figures.

    Attributes:
        params: elements of all parameters.
        macs: multiply-accumulate operations of one call on the example inputs.
        size_bytes: of the exported artifact on disk.
        latency_ms: of the exported artifact, by the clock that `device.basis` names; or as the device
            estimates it.
        wall_ms: median wall time of a run.
        cpu_ms: median CPU time of a run.
        runs: how many runs the medians are of.
        spread: standard error of the median, relative to it.
        cycles: of one call, where the device has a clock that it tells them by.
        energy_mj: of one call, where a device estimates it.
        peak_memory_bytes: largest sum of tensors alive at once, weights aside; analytic, or what the device's
            own tools allocate.
        metric: what `evaluate` gives.
        metric_of: what was evaluated: the artifact, by its form ("hls.zip" in emulation), or the "pytorch"
            module where that cannot be.
    """

    params: int
    macs: int
    size_bytes: int
    latency_ms: float | None
    wall_ms: float | None
    cpu_ms: float | None
    runs: int
    spread: float | None
    peak_memory_bytes: int
    cycles: float | None = None
    energy_mj: float | None = None
    metric: float | None
    metric_of: MetricOf | None


class ProofLine(Record):
    """The check of the cut against the masked original.

    Attributes:
        max_error: largest difference relative to the largest output.
        tolerance: what is allowed.
        dtype: of the check.
        passed: whether `max_error` is within `tolerance`.
    """

    max_error: float
    tolerance: float
    dtype: str
    passed: bool


class AxisLine(Record):
    """What became of one axis.

    Attributes:
        name: of the axis.
        size: units it had.
        kept: units it has.
        frozen: whether it could not be cut.
        reason: why not; None where it could.
    """

    name: str
    size: int
    kept: int
    frozen: bool
    reason: str | None


class CandidateLine(Record):
    """One network that was measured on the way.

    Attributes:
        target: what the planner was asked for, per quantity.
        predicted: what the device's cost model said, per quantity.
        measured: what it turned out to be.
        within: whether it is inside the budget.
    """

    target: dict[str, float]
    predicted: dict[str, float]
    measured: dict[str, float]
    within: bool


class RoundLine(Record):
    """One round of a network that is cut in rounds.

    Attributes:
        limits: what its network was allowed, per quantity; of `units` the share to keep.
        measured: what it turned out to be before recovery, which does not change it.
        kept: units that are left of every axis that is not whole.
        metric: by `evaluate` on the module, after recovery; None without `evaluate`.
        held: whether the floor holds; None without one.
        shipped: whether it is the result.
        recovery: the steps after its cut, in order.
        notes: what the user should know.
    """

    limits: dict[str, float]
    measured: dict[str, float]
    kept: dict[str, int]
    metric: float | None
    held: bool | None
    shipped: bool
    recovery: tuple[RecoveryRecord, ...] = ()
    notes: tuple[str, ...] = ()


class ExportLine(Record):
    """The exported artifact.

    Attributes:
        format: "onnx", or the ending of what the device runs; "pt2" where the model has no ONNX form and the
            device need not run it.
        dynamic_batch: whether it takes any batch size.
        agreement: largest difference from PyTorch, relative to the largest output.
        notes: whatever the exporter has to say.
    """

    format: str
    dynamic_batch: bool
    agreement: float
    notes: tuple[str, ...] = ()


class Report(Record):
    """Everything that a run found.

    Attributes:
        schema_version: 1; written as `schema`.
        penjing: version of the package.
        model: name of the model's class.
        fallback: None, or why the result is the rewritten graph and not the user's own module.
        device: what latencies hold for.
        seed: of everything random.
        budget: the bounds.
        before: the original, in the same session.
        after: the exported result.
        proof: of the cut.
        axes: all of them, those that may be cut first; those of a dropped branch keep no unit.
        dropped: residual branches that were left out as a whole.
        opaque_operators: operators without a rule; what touches them is frozen.
        criterion: what units were ranked by, and why that one.
        recovery: the steps since the last cut, in order.
        rounds: where it was cut in rounds, each of them, in the order in which they were tried.
        candidates: networks measured on the way to the budget; in rounds, to that of the shipped one.
        export: the artifact.
        costs: relative error of the cost model on the measured networks: median, worst, how many.
        seconds: wall time by stage; 0 where a stage was not entered.
        environment: versions and machine.
        notes: what the user should know.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    penjing: str
    model: str
    fallback: str | None
    device: DeviceFigures
    seed: int
    budget: tuple[BudgetLine, ...]
    before: Figures
    after: Figures
    proof: ProofLine
    axes: tuple[AxisLine, ...]
    dropped: tuple[str, ...] = ()
    opaque_operators: tuple[str, ...]
    criterion: str
    recovery: tuple[RecoveryRecord, ...]
    rounds: tuple[RoundLine, ...] = ()
    candidates: tuple[CandidateLine, ...]
    export: ExportLine
    costs: dict[str, float]
    seconds: dict[str, float]
    environment: dict[str, str]
    notes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was cut."""
        return any(axis.kept < axis.size for axis in self.axes)

    def to_json(self) -> str:
        """The content of `report.json`."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def __str__(self) -> str:
        """As `penjing report` draws it."""
        from penjing.report.text import plain

        return plain(self)
