"""Finding an operator of the network in the runtime's own, optimised graph, by what it computes.

Names do not survive the runtime's fusions, shapes do. Operators of equal signature do equal work, so which
of them a node came from does not matter.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from penjing.devices.nodes import NodeTime
from penjing.devices.stairs import Stairs
from penjing.devices.terms import kind, padded_channels
from penjing.network import Operator

Shape = tuple[int, ...]
Signature = tuple[str, tuple[int, ...]]


def times_by_signature(nodes: Iterable[NodeTime]) -> dict[Signature, float]:
    """Mean time in ms of the nodes of every signature."""
    found: dict[Signature, list[float]] = defaultdict(list)
    for node in nodes:
        signature = signature_of_node(node.kind, node.inputs, node.outputs)
        if signature is not None:
            found[signature].append(node.ms)
    return {signature: statistics.fmean(times) for signature, times in found.items()}


def signature_of_node(what: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Signature | None:
    """What a node of the runtime computes; None for one that is neither convolution nor matrix product."""
    if "Conv" in what and len(inputs) > 1:
        return ("conv", (*inputs[1], *outputs[0][2:]))
    if what.removeprefix("Fused") in ("Gemm", "MatMul") and inputs and inputs[0]:
        return ("linear", (math.prod(outputs[0][:-1]), inputs[0][-1], outputs[0][-1]))
    return None


def signature_of(operator: Operator, counts: Mapping[str, int], stairs: Stairs) -> Signature | None:
    """What an operator computes at `counts`, in the shapes that the runtime pads it to; None as above."""
    what = kind(operator)
    inputs, output = operator.inputs_at(counts), operator.outputs_at(counts)[0]
    if what in ("conv1d", "conv2d", "conv3d"):
        outs, ins, *taps = inputs["weight"]
        outs, ins = padded_channels(outs, ins, int(operator.arguments.get("groups") or 1), stairs)
        return ("conv", (outs, ins, *taps, *output[2:]))
    if what in ("linear", "addmm", "mm"):
        rows = math.prod(output[:-1])
        return ("linear", (rows, operator.macs_at(counts) // max(1, rows * output[-1]), output[-1]))
    return None
