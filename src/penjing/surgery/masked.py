"""The masked original: the whole graph at full size, in which units that a plan removes have no influence.

An operator that sums products over an axis sees zeros where units are gone. One that normalises or averages
over an axis is applied to what is left of it. Every other operator runs as it is. Nothing here uses a smaller
weight: it is the reference that a cut network must equal.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from penjing.network import Call, Network
from penjing.network.op import Dims, Op
from penjing.network.solve import tensor_named
from penjing.surgery.copies import wide
from penjing.surgery.selection import Selection, blank, put, take


def run_masked(net: Network, selection: Selection, call: Call) -> list[Any]:
    """Flattened outputs of the masked original on the arguments of `call`."""
    given = iter(pytree.arg_tree_leaves(*call.args, **call.kwargs))
    values: dict[fx.Node, Any] = {}
    remaining = {node: len(node.users) for node in net.trace.graph.nodes}
    for node in net.trace.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(given) if node.name in net.trace.inputs else _held(net, node)
        elif node.op == "output":
            return [
                values[leaf] if isinstance(leaf, fx.Node) else leaf
                for leaf in pytree.tree_leaves(node.args[0])
            ]
        elif node.name in selection.passed:
            values[node] = next(
                values[s] for s in node.all_input_nodes if s.name == selection.passed[node.name]
            ).clone()
        elif node.target is operator.getitem:
            values[node] = values[node.args[0]][node.args[1]]
        else:
            values[node] = _run_one(net, selection, node, values)
        for source in node.all_input_nodes:
            remaining[source] -= 1
            if not remaining[source]:
                del values[source]
    raise AssertionError("a graph without an output")


def _held(net: Network, node: fx.Node) -> Any:
    name = net.trace.state.get(node.name)
    tensor = tensor_named(net.model, name) if name else net.trace.constants[node.name][1]
    return wide(tensor.detach().clone())


def _run_one(net: Network, selection: Selection, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    op = net.solution.ops.get(node)
    if op is not None and (op.contracts or op.normalises) and _loses(selection, op):
        return _contract(selection, op, values) if op.contracts else _normalise(net, selection, op, values)
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
    if node.target is torch.ops.aten.view.default:  # what was laid back has a memory layout of its own
        return torch.ops.aten.reshape.default(*args, **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _loses(selection: Selection, op: Op) -> bool:
    return any(selection.touches(dim) for dims in op.inputs() for dim in dims)


def _contract(selection: Selection, op: Op, values: dict[fx.Node, Any]) -> Any:
    """The operator as it is, on inputs with zeros where units are gone."""

    def blanked(node: fx.Node) -> Any:
        dims = op.of(node)
        return blank(values[node], selection.kept_of(dims)) if dims else values[node]

    args, kwargs = fx.map_arg((op.node.args, op.node.kwargs), blanked)
    return op.node.target(*args, **kwargs)  # type: ignore[operator]


def _normalise(net: Network, selection: Selection, op: Op, values: dict[fx.Node, Any]) -> Any:
    """The operator applied to what is left, and laid back into the full size."""

    def left(node: fx.Node) -> Any:
        dims = op.of(node)
        return take(values[node], selection.kept_of(dims)) if dims else values[node]

    target, args, kwargs = selection.arguments(op)
    args, kwargs = fx.map_arg((args, kwargs), left)
    result = target(*args, **kwargs)
    if isinstance(result, torch.Tensor):
        return _back(net, selection, op.outputs[0], result)
    whole: Sequence[Any] = result
    return [_back(net, selection, dims, one) for dims, one in zip(op.outputs, whole, strict=True)]


def _back(net: Network, selection: Selection, dims: Dims | None, result: Any) -> Any:
    if dims is None or not isinstance(result, torch.Tensor):
        return result
    kept = selection.kept_of(dims)
    whole = [net.solution.space.size(dim) if at in kept else result.shape[at] for at, dim in enumerate(dims)]
    return put(result, kept, whole)
