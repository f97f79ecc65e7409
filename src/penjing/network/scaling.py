"""Operators that multiply every channel by a parameter and may add another: normalisations, layer scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from penjing.network.arguments import bind, operator_name
from penjing.network.program import Trace

_BEHIND = frozenset({"aten.layer_norm", "aten.rms_norm"})
_SECOND = frozenset({"aten.batch_norm", "aten.group_norm", "aten.instance_norm"})


@dataclass(frozen=True)
class Scaling:
    """One such operator: `y[..., c, ...] = weight[c] n[..., c, ...] + bias[c]`, whatever `n` is made of.

    Attributes:
        node: the operator.
        weight: dotted name of the parameter.
        bias: that of what is added; None for nothing.
        channel: the dimension of channels in its output, counted from the end.
        running: whether it is a batch norm that normalises by running statistics.
    """

    node: fx.Node
    weight: str
    bias: str | None
    channel: int
    running: bool = False

    def rows(self, value: Tensor) -> Tensor:
        """An input or output of it, [channels, samples, positions]."""
        moved = value.movedim(self.channel, 0)
        return moved.reshape(*moved.shape[:2], -1)


def scalings(trace: Trace) -> dict[fx.Node, Scaling]:
    """Every operator of a graph that scales channels of a batch of samples by one parameter, in order."""
    found = {}
    for node in trace.graph.nodes:
        if node.op == "call_function":
            read = _read(node, trace)
            if read is not None:
                found[node] = read
    return found


def _read(node: fx.Node, trace: Trace) -> Scaling | None:
    name = operator_name(node.target)
    if name == "aten.mul":  # one that writes into its input cannot be run once more
        return None if cast(OpOverload, node.target)._schema.is_mutable else _product(node, trace)
    if name not in _BEHIND | _SECOND:
        return None
    arguments, value = bind(node), _value(node)
    weight, bias = _held(arguments["weight"], trace), _held(arguments.get("bias"), trace)
    if value is None or weight is None or (bias is None and arguments.get("bias") is not None):
        return None
    channel = -1 if name in _BEHIND else 1 - value.ndim
    running = (
        name == "aten.batch_norm" and arguments["running_mean"] is not None and not arguments["training"]
    )
    return _checked(Scaling(node, weight[0], bias and bias[0], channel, running), value, weight[1])


def _product(node: fx.Node, trace: Trace) -> Scaling | None:
    arguments, value = bind(node), _value(node)
    both = [arguments["self"], arguments["other"]]
    weights = [held for side in both if (held := _held(side, trace)) is not None]
    if value is None or len(weights) != 1:
        return None
    name, weight = weights[0]
    long = [place - weight.ndim for place, size in enumerate(weight.shape) if size > 1]
    others = [
        _value(side) for side in both if isinstance(side, fx.Node) and trace.state.get(side.name) != name
    ]
    if len(long) != 1 or len(others) != 1 or others[0] is None or others[0].shape != value.shape:
        return None
    return _checked(Scaling(node, name, None, long[0]), value, weight)


def _value(node: fx.Node) -> Tensor | None:
    value = node.meta.get("val")
    return value if isinstance(value, torch.Tensor) and value.is_floating_point() else None


def _held(given: Any, trace: Trace) -> tuple[str, Tensor] | None:
    """Name and shape of a parameter."""
    if not isinstance(given, fx.Node) or given.name not in trace.state:
        return None
    return trace.state[given.name], given.meta["val"]


def _checked(found: Scaling, value: Tensor, weight: Tensor) -> Scaling | None:
    """None where the first dimension is not one of samples beside channels, or channels are not alone."""
    if value.ndim < 2 or -found.channel >= value.ndim or weight.numel() != value.shape[found.channel]:
        return None
    return found
