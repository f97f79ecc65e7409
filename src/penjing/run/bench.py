"""The bench: artifacts of one job are made here, measured beside the original, and evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from penjing.devices import (
    Artifact,
    Carried,
    Device,
    Estimating,
    Measurement,
    Measuring,
    MemoryModel,
    Prices,
    to_onnx,
    to_program,
)
from penjing.devices.size import weights_beside
from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.plan import Plan, counts_of
from penjing.recover import Evaluate, measured
from penjing.report import Figures, MetricOf
from penjing.run.journal import Journal
from penjing.run.ranges import ranges
from penjing.run.shipped import Shipped
from penjing.surgery import cut

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Pair:
    """The original and another artifact, timed against one another.

    Attributes:
        before: of the original; None where the device does not measure.
        after: of the other.
    """

    before: Measurement | None
    after: Measurement | None

    @classmethod
    def read(cls, record: Sequence[Mapping[str, Any] | None]) -> Pair:
        """The inverse of `record`."""
        before, after = (None if one is None else Measurement(**one) for one in record)
        return cls(before, after)

    def record(self) -> list[dict[str, Any] | None]:
        """As data."""
        return [None if one is None else one.record() for one in (self.before, self.after)]

    @property
    def ratio(self) -> float:
        """What the other takes of the original's latency."""
        assert self.before is not None
        assert self.after is not None
        return self.after.latency_ms / self.before.latency_ms


class Bench:
    """Measures what belongs to one network on one device."""

    def __init__(
        self, net: Network, device: Device, journal: Journal, *, data: Iterable[Any] | None = None
    ) -> None:
        """Exports and measures the original; `formless` says why there is no ONNX file, if so.

        Args:
            net: the network.
            device: where it must run.
            journal: where the original is kept, and what it was measured to take.
            data: calibration batches, which artifacts in int8 take their ranges from.
        """
        self.net, self.device, self.folder = net, device, journal.work
        self._data = data if device.ranged else None
        self.memory = MemoryModel(net)
        self.estimate = _estimate(device, net)
        entry = journal.once("original", self._original)
        self.formless: str = entry.record["formless"]
        self.original = Artifact.read(entry.record["artifact"], entry.folder)
        alone = entry.record["alone"]
        self.alone = None if alone is None else Measurement(**alone)

    def _original(self, folder: Path) -> dict[str, Any]:
        # What torch.export refuses, the exporter refuses too: the recorded graph stands in for the module.
        whole = cut(self.net, Plan()).model if self.net.trace.specialised else self.net.model
        artifact, formless = self._shipped(whole, folder / "original.onnx")
        alone = None
        if isinstance(self.device, Measuring):
            alone = self.device.measure([artifact.path], call=self.net.call)[0].record()
        return {"artifact": artifact.record(), "formless": formless, "alone": alone}

    def amounts(self) -> dict[str, float]:
        """The original's figures by quantity of a budget."""
        latency = self.timed(self.alone.latency_ms) if self.alone else {}
        return {**latency, **self.exact({}), **self.read(self.original)}

    def timed(self, latency_ms: float) -> dict[str, float]:
        """A latency by quantity: in cycles too, where the device has a clock."""
        return self._in_cycles({"latency": latency_ms})

    def read(self, artifact: Artifact) -> dict[str, float]:
        """What is read off a file: its size, and what the device's own tools say of it."""
        return {"size": float(artifact.size_bytes), **self.device.figures(artifact.path)}

    def exact(self, counts: Counts) -> dict[str, float]:
        """What follows from widths alone, by quantity; where a branch is gone, at most that.

        What a device estimates is among it.
        """
        return self._in_cycles(_exact(self.net, self.memory, self.estimate, counts))

    def exact_of(self, model: nn.Module, plan: Plan) -> dict[str, float]:
        """The same of a network that was cut: traced anew where what fed a dropped branch may be gone."""
        if not plan.dropped:
            return self.exact(plan.counts())
        small = trace(model, self.net.call)
        estimate = None if isinstance(self.device, Carried) else _estimate(self.device, small)
        exact = _exact(small, MemoryModel(small), estimate, {})
        if self.estimate is not None and estimate is None:  # of one network: it knows its branches
            exact |= self.estimate.figures(counts_of(self.net, plan))
        return self._in_cycles(exact)

    def export(self, model: nn.Module, path: Path, *, draft: bool = True) -> Artifact:
        """The artifact of `model`; its batch is fixed where the original's has to be.

        A `draft` is made to be measured, not to be shipped.
        """
        why = self.original.static
        if self.device.form != "onnx":
            path = path.with_suffix(f".{self.device.form}")
            if draft:
                return self.device.draft(model, self.net.call, path)
            return self.device.export(model, self.net.call, path, calibration=ranges(self.net, self._data))
        if self.formless:
            return to_program(model, self.net.call, path.with_suffix(".pt2"))
        artifact = to_onnx(model, self.net.call, path, free_batch=not why)
        return replace(artifact, static=why) if why else artifact

    def _shipped(self, model: nn.Module, path: Path) -> tuple[Artifact, str]:
        """The ONNX file; where there can be none and no device has to run it, the exported program, and why.

        Raises:
            PenjingError: as `to_onnx`.
        """
        if self.device.form != "onnx":
            form = self.device.form
            why = f"device `{self.device.name}` runs a `.{form}` file, so that there is no ONNX file"
            calls = ranges(self.net, self._data)
            return self.device.export(
                model, self.net.call, path.with_suffix(f".{form}"), calibration=calls
            ), why
        try:
            return to_onnx(model, self.net.call, path), ""
        except PenjingError as refusal:
            if isinstance(self.device, Measuring):
                raise
            try:
                program = to_program(model, self.net.call, path.with_suffix(".pt2"))
            except Exception:  # torch.export raises any type
                raise refusal from None
            return program, f"there is no ONNX file: {refusal.what} ({refusal.because})"

    def _in_cycles(self, amounts: dict[str, float]) -> dict[str, float]:
        """Adds cycles where there is a latency and the device has a clock."""
        hz = self.device.clock_hz
        if hz is None or "latency" not in amounts:
            return amounts
        return {**amounts, "cycles": amounts["latency"] * hz / 1e3}

    def discard(self, artifact: Artifact) -> None:
        """Removes an artifact that has served."""
        for path in (artifact.path, weights_beside(artifact.path)):
            path.unlink(missing_ok=True)

    def pair(self, artifact: Artifact) -> Pair:
        """Times an artifact beside the original."""
        if not isinstance(self.device, Measuring):
            return Pair(None, None)
        return Pair(*self.device.compare(self.original.path, artifact.path, call=self.net.call))

    def figures(
        self,
        artifact: Artifact,
        measurement: Measurement | None,
        exact: Mapping[str, float],
        metric: tuple[float, MetricOf] | None,
    ) -> Figures:
        """A model in figures, for the report."""
        read = self.read(artifact)
        timed = self.timed(measurement.latency_ms) if measurement else exact
        return Figures(
            params=round(exact["params"]),
            macs=round(exact["macs"]),
            size_bytes=artifact.size_bytes,
            latency_ms=timed.get("latency"),
            cycles=timed.get("cycles"),
            energy_mj=exact.get("energy"),
            wall_ms=measurement.wall_ms if measurement else None,
            cpu_ms=measurement.cpu_ms if measurement else None,
            runs=measurement.runs if measurement else 0,
            spread=measurement.spread if measurement else None,
            peak_memory_bytes=round(read.get("memory", exact["memory"])),
            metric=metric[0] if metric else None,
            metric_of=metric[1] if metric else None,
        )

    def metrics(
        self, evaluate: Evaluate, model: nn.Module, artifact: Artifact
    ) -> tuple[float, float, MetricOf, str]:
        """The metric of the original and of `model`, by their artifacts if those can stand in for them.

        Returns:
            Before, after, what was evaluated, and why it was not the artifacts ("" if it was).

        Raises:
            PenjingError: PJ315, `evaluate` fails on the modules themselves.
        """
        form = self.original.form
        threads, call = int(self.device.record()["threads"]), self.net.call
        try:
            before = Shipped(self.original.path, form, self.net.model, call, threads=threads)
            after = Shipped(artifact.path, form, model, call, threads=threads)
            return measured(evaluate, before), measured(evaluate, after), form, ""
        except PenjingError as error:
            why = f"{error.what}: {error.because}" if error.because else error.what
        note = f"the metric is that of the PyTorch modules: `evaluate` fails on the exported files ({why})"
        return measured(evaluate, self.net.model), measured(evaluate, model), "pytorch", note


def _estimate(device: Device, net: Network) -> Prices | None:
    return device.estimate(net) if isinstance(device, Estimating) else None


def _exact(net: Network, memory: MemoryModel, estimate: Prices | None, counts: Counts) -> dict[str, float]:
    return {
        **(estimate.figures(counts) if estimate else {}),
        "macs": float(net.macs_at(counts)),
        "params": float(net.parameters_at(counts)),
        "memory": float(memory.bytes_at(counts)),
    }
