"""Times of the single operators of a network that OpenVINO has compiled, by its own counters."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from penjing.devices.nodes import LEAST_RUNS, NodeTime, Shape, quicker_third

_KINDS: Final[Mapping[str, str]] = {
    "Convolution": "Conv",
    "GroupConvolution": "Conv",
    "FullyConnected": "MatMul",
    "MatMul": "MatMul",
}


def profiled(compiled: Any, request: Any, run: Callable[[], object], seconds: float) -> list[NodeTime]:
    """Runs a request of a model that was compiled with `PERF_COUNT`, for `seconds`, at least 12 times.

    Its counters tell whole microseconds: what takes less than one in every run is left out.
    """
    times: dict[str, list[float]] = defaultdict(list)
    end, runs = time.perf_counter() + seconds, 0
    while runs < LEAST_RUNS or time.perf_counter() < end:
        run()
        runs += 1
        for entry in request.get_profiling_info():
            if entry.status.name == "EXECUTED":
                times[entry.node_name].append(entry.real_time.total_seconds() * 1e3)
    nodes = {node.get_friendly_name(): node for node in compiled.get_runtime_model().get_ordered_ops()}
    found = []
    for name, measured in times.items():
        ms = quicker_third(measured)
        if name not in nodes or ms == 0:
            continue
        node = nodes[name]
        kind = str(node.get_rt_info()["layerType"].value)
        outputs = _shapes(node.outputs())
        inputs = _plain(_shapes(node.inputs()), outputs)
        found.append(NodeTime(name, _KINDS.get(kind, kind), inputs, outputs, ms))
    return found


def _shapes(ports: Any) -> tuple[Shape, ...]:
    return tuple(tuple(int(size) for size in port.get_shape()) for port in ports)


def _plain(inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """The weight of a grouped convolution as others have it: its groups are a dimension here."""
    if len(inputs) < 2 or len(inputs[1]) != len(outputs[0]) + 1:
        return inputs
    groups, outs, *rest = inputs[1]
    return (inputs[0], (groups * outs, *rest), *inputs[2:])
