"""What a network costs on a device, operator by operator."""

from __future__ import annotations

import tempfile
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

from torch import nn

from penjing.devices import Cache, Device, Measuring, Prices
from penjing.network import Network, trace
from penjing.run.bench import Bench
from penjing.run.calibration import calibrate
from penjing.run.directory import room
from penjing.run.journal import Journal
from penjing.run.progress import Log
from penjing.run.subject import subject


def profile(
    model: nn.Module, example_inputs: Any, device: Device, *, seed: int = 0, fresh: bool = False
) -> dict[str, Any]:
    """Measures a network as it is, and fits its operators' share in the time; once, for one that measures.

    What was measured is kept, and given again for the same model, code and inputs on the same device.

    Args:
        model: the network's module.
        example_inputs: as the model is called.
        device: where it must run; one that only counts gives no times.
        seed: of the networks that the latency model is fitted to.
        fresh: measure again whatever is kept.

    Returns:
        A record: the whole network's figures, and one row per operator that costs something. `predicted_ms`
        is the sum of the operators, beside the measured `latency_ms`; `model_error` says how far
        predictions are from measured networks that the fit had not seen. A device that estimates gives the
        half-width of its band as `error`, and no measured times. `measured_on` is the day of the measurement.

    Raises:
        PenjingError: the model cannot be traced or exported; PJ602, there is no room for its export.
    """
    of = subject(model, example_inputs) if isinstance(device, Measuring) else None
    if of is None or not isinstance(device, Measuring):
        return _profiled(model, example_inputs, device, seed)
    cache, name = Cache(), f"profile-{device.fingerprint.key()}-{of}-{seed}"
    known = {} if fresh else cache.load(name)
    if not known:
        known = _profiled(model, example_inputs, device, seed)
        cache.save(name, known)
    return known


def _profiled(model: nn.Module, example_inputs: Any, device: Device, seed: int) -> dict[str, Any]:
    log = Log(StringIO())
    with room(), tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        with log.stage("trace", "tracing"):
            net = trace(model, example_inputs)
        with log.stage("measure", "measuring"):
            bench = Bench(net, device, Journal(Path(folder), log, durable=False))
        figures = bench.figures(bench.original, bench.alone, bench.exact({}), None)
        record: dict[str, Any] = {
            "model": type(model).__name__,
            "device": device.record(),
            "basis": bench.alone.basis if bench.alone else None,
            **figures.model_dump(exclude={"metric", "metric_of"}),
            "measured_on": str(date.today()),
            "predicted_ms": None,
            "model_error": None,
            "operators": [],
        }
        if bench.estimate is not None:
            return {**record, "operators": _estimated(net, bench.estimate), "error": bench.estimate.band}
        if not isinstance(device, Measuring):
            return {**record, "operators": _counted(net)}
        with log.stage("plan", "calibrating the latency model"):
            costs = calibrate(bench, seed=seed, watch=log)
    error = costs.error
    macs = {operator.name: operator.macs_at({}) for operator in net.operators}
    rows = [
        {
            "name": cost.name,
            "module": cost.module,
            "target": cost.target,
            "ms": cost.ms,
            "share": cost.share,
            "measured_ms": cost.measured_ms,
            "folds": list(cost.folds),
            "macs": macs[cost.name],
            "output": list(cost.output),
        }
        for cost in costs.per_operator({})
    ]
    return {
        **record,
        "predicted_ms": costs.latency_ms({}),
        "model_error": {"median": error.median, "worst": error.worst, "networks": error.networks},
        "operators": rows,
    }


def _estimated(net: Network, estimate: Prices) -> list[dict[str, Any]]:
    """Operators that a device is estimated to take time for."""
    whole = estimate.total("latency", {})
    rows = []
    for operator in net.operators:
        if not estimate.alone(operator):
            continue
        ms = estimate.operator("latency", operator, {})
        rows.append(
            {
                "name": operator.name,
                "module": operator.module,
                "target": operator.target,
                "ms": ms,
                "share": ms / whole if whole else 0.0,
                "measured_ms": None,
                "folds": [],
                "macs": operator.macs_at({}),
                "output": list(operator.outputs_at({})[0]),
            }
        )
    return rows


def _counted(net: Network) -> list[dict[str, Any]]:
    """Operators that multiply, without times."""
    return [
        {
            "name": operator.name,
            "module": operator.module,
            "target": operator.target,
            "macs": operator.macs_at({}),
            "output": list(operator.outputs_at({})[0]),
        }
        for operator in net.operators
        if operator.macs_at({})
    ]
