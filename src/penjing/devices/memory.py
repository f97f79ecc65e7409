"""The largest memory that a network's activations need at a time: computed, and measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from operator import getitem
from pathlib import Path
from typing import Any, Final

import onnxruntime
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from penjing.devices.feeds import feeds
from penjing.devices.fusion import folded, tensors_in
from penjing.devices.measurement import Figure
from penjing.devices.nodes import record_events
from penjing.devices.terms import VIEWS, kind
from penjing.errors import PenjingError
from penjing.network import Call, Network, Operator

_IN_USE: Final = "mem_bytes_requested_in_use"
_IN_USE_CHANGE: Final = "mem_requested_in_use_delta"
_SHARING: Final = VIEWS | {
    "transpose",
    "permute",
    "t",
    "select",
    "slice",
    "narrow",
    "chunk",
    "split",
    "unbind",
}


@dataclass(frozen=True)
class Held:
    """Tensors that one operator makes, or an input of the network, while somebody still needs them.

    Attributes:
        operator: that makes them, or None.
        widths: bytes of an element of each; for an input, all its bytes.
        first: the step they are made in.
        last: the last step that reads them, or a view of them.
    """

    operator: Operator | None
    widths: tuple[int, ...]
    first: int
    last: int

    @property
    def axes(self) -> frozenset[str]:
        """Names of the axes that decide how many bytes they are."""
        return self.operator.depends if self.operator else frozenset()

    def bytes_at(self, counts: Mapping[str, Any]) -> Any:
        """Bytes when each axis in `counts` keeps that many units; widths may be arrays."""
        if self.operator is None:
            return sum(self.widths)
        shapes = self.operator.outputs_at(
            {name: counts[name] for name in self.operator.axes if name in counts}
        )
        whole = sum(math.prod(shape) * width for shape, width in zip(shapes, self.widths, strict=False))
        return self.operator.runs_at(counts) * whole


class MemoryModel:
    """Bytes of the tensors that are alive at once, the most over all steps of the execution.

    Inputs and outputs count, weights do not. Views share the memory of what they look at; what a runtime
    folds into an operator works in that operator's output.

    Attributes:
        held: every tensor, or group of them, that takes memory, and when.
        steps: how many operators are executed; step `steps` is the end.
    """

    def __init__(self, net: Network) -> None:
        """Finds out when every tensor is made and last read."""
        operators, shared = net.operators, folded(net.operators)
        nodes = {node.name: node for node in net.trace.graph.nodes}
        makes = {name: name for name in (*net.trace.inputs, *(operator.name for operator in operators))}
        last: dict[str, int] = dict.fromkeys(net.trace.inputs, 0)
        for step, operator in enumerate(operators):
            read = (_maker(nodes[ref.name]) for ref in tensors_in(operator.arguments) if not ref.parameter)
            names = [name for name in read if name in makes]
            if names and (shared.get(operator.name) or kind(operator) in _SHARING):
                makes[operator.name] = makes[names[0]]
            for name in (*names, operator.name):
                last[makes[name]] = step
        for node in net.trace.graph.output_node().all_input_nodes:
            if (name := _maker(node)) in makes:
                last[makes[name]] = len(operators)
        self.steps = len(operators)
        self.held = [Held(None, _sizes(nodes[name], whole=True), 0, last[name]) for name in net.trace.inputs]
        self.held += [
            Held(operator, _sizes(nodes[operator.name]), step, last[operator.name])
            for step, operator in enumerate(operators)
            if makes[operator.name] == operator.name and shared.get(operator.name) != ""
        ]

    def bytes_at(self, counts: Mapping[str, int]) -> int:
        """The peak when each axis in `counts` keeps that many units."""
        change: dict[int, int] = defaultdict(int)
        for held in self.held:
            size = held.bytes_at(counts)
            change[held.first] += size
            change[held.last + 1] -= size
        alive = peak = 0
        for step in range(self.steps + 1):
            alive += change[step]
            peak = max(peak, alive)
        return peak

    def figure(self, counts: Mapping[str, int]) -> Figure:
        """The same with its provenance."""
        return Figure("memory", self.bytes_at(counts), "bytes", "analytic")


def _maker(node: fx.Node) -> str:
    """The name of the operator that makes what `node` stands for; `getitem` only takes one of several."""
    while node.target is getitem:
        (node, *_) = node.all_input_nodes
    return node.name


def _sizes(node: fx.Node, *, whole: bool = False) -> tuple[int, ...]:
    """Bytes of an element of every tensor that an operator makes, or of the whole tensor."""
    tensors = [leaf for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, Tensor)]
    return tuple(tensor.element_size() * (tensor.numel() if whole else 1) for tensor in tensors)


def measure_memory(path: Path | str, call: Call, *, threads: int = 1) -> Figure:
    """What ONNX Runtime asks for at most while it runs an artifact, beyond what it holds before.

    That is outputs, intermediate tensors and scratch; weights, and the inputs (the caller's), are not in it.

    Raises:
        PenjingError: PJ404, there is no such file; PJ405, ONNX Runtime refuses it; PJ408, it does not tell.
    """
    events = record_events(Path(path), feeds(call), threads=threads, seconds=0.0)
    told = [event["args"] for event in events if _IN_USE in event.get("args", {})]
    if not told:
        raise PenjingError(
            "PJ408",
            f"the memory of `{path}` cannot be measured",
            because=f"ONNX Runtime {onnxruntime.__version__} does not say what operators allocate",
            tries=["update onnxruntime", "take the analytic figure"],
        )
    before = int(told[0][_IN_USE]) - int(told[0][_IN_USE_CHANGE])
    return Figure("memory", max(int(entry[_IN_USE]) for entry in told) - before, "bytes", "measured")
