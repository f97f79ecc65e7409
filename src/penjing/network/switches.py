"""Switches: axes whose last unit takes a whole residual branch with it, so that depth is one more width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from penjing.network.arguments import operator_name
from penjing.network.axis import Axis
from penjing.network.branches import Branch
from penjing.network.projection import Projection, projections
from penjing.network.trace import Trace

_PASSES = frozenset(
    f"aten.{name}"
    for name in (
        "dropout", "feature_dropout", "clone", "contiguous", "alias", "detach", "to", "mul", "div",
        "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze",
        "transpose", "permute",
        "batch_norm", "layer_norm", "rms_norm", "group_norm",
        "relu", "relu6", "hardtanh", "gelu", "silu", "tanh",
    )
)  # fmt: skip
"""What makes a constant of a constant, where all else that it reads is one."""


@dataclass(frozen=True)
class Switch:
    """An axis that all of a branch's output is summed over: with no unit of it, the branch says nothing.

    Attributes:
        axis: its name.
        branch: the branch.
        inner: names of all axes that may be cut and that only the branch carries; `axis` is one of them.
    """

    axis: str
    branch: Branch
    inner: frozenset[str]


def find_switches(trace: Trace, axes: Sequence[Axis], branches: Sequence[Branch]) -> dict[str, Switch]:
    """The switch of every branch that ends in a layer which sums over an axis of the branch's own, by name.

    Where there are several (heads, and the width of values), it is the first of `axes`. A branch inside of
    another has none: what it costs would be counted twice.
    """
    layers = projections(trace)
    nodes = {node.name: node for node in trace.graph.nodes}
    found: dict[str, Switch] = {}
    for branch in branches:
        if any(branch.joins in other.operators for other in branches):
            continue
        last = _last_layer(branch, nodes, layers)
        if last is None:
            continue
        own = frozenset(
            axis.name
            for axis in axes
            if axis.frozen is None and all(member.tensor in branch.parameters for member in axis.members)
        )
        for axis in axes:
            if axis.name in own and axis.name not in found and _sums_over(axis, last):
                found[axis.name] = Switch(axis.name, branch, own)
                break
    return found


def _last_layer(
    branch: Branch, nodes: dict[str, fx.Node], layers: dict[fx.Node, Projection]
) -> Projection | None:
    """The layer behind which only what makes constants of constants comes."""
    inside = set(branch.operators)
    ends = [source for source in nodes[branch.joins].all_input_nodes if source.name in inside]
    while len(ends) == 1:
        (here,) = ends
        if here in layers:
            return layers[here]
        if operator_name(here.target) not in _PASSES:
            return None
        ends = [source for source in here.all_input_nodes if source.name in inside]
    return None


def _sums_over(axis: Axis, layer: Projection) -> bool:
    return any(
        member.tensor == layer.weight and member.dim == layer.into and min(member.units) >= 0
        for member in axis.members
    )
