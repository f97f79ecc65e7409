"""Higher-order operators that only wrap a subgraph (no_grad, autocast, checkpoint), written out in place."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch._ops import HigherOrderOperator


def inline_wrappers(module: fx.GraphModule, drop_outputs: int = 0) -> fx.Graph:
    """A new graph in which every wrapper is replaced by the operators it wraps.

    Args:
        module: an exported graph module.
        drop_outputs: how many leading outputs are not the user's (mutated buffers).

    Raises:
        NotImplementedError: an operator chooses among graphs or repeats one (`torch.cond`).
    """
    graph = fx.Graph()
    result = _copy(module, graph, {})
    graph.output(tuple(result)[drop_outputs:] if isinstance(result, tuple | list) else result)
    return graph


def wrapped(node: fx.Node, module: fx.GraphModule) -> tuple[fx.GraphModule, tuple[Any, ...]] | None:
    """The subgraph that `node` wraps and what it is called with, or None if it is no wrapper."""
    if not isinstance(node.target, HigherOrderOperator):
        return None
    for position, argument in enumerate(node.args):
        if isinstance(argument, fx.Node) and argument.op == "get_attr":
            inner = getattr(module, str(argument.target), None)
            if isinstance(inner, fx.GraphModule):
                operands = node.args[position + 1 :]
                holders = [n for n in inner.graph.nodes if n.op == "placeholder"]
                return (inner, operands) if len(holders) == len(operands) else None
    return None


def _copy(module: fx.GraphModule, graph: fx.Graph, values: dict[fx.Node, Any]) -> Any:
    """Copies the nodes of `module` into `graph`; returns what its output node returns."""
    modules: list[str] = []
    for node in module.graph.nodes:
        if node.op == "output":
            return fx.map_arg(node.args[0], lambda n: values[n])
        if node.op == "get_attr" and isinstance(getattr(module, str(node.target), None), torch.nn.Module):
            modules.append(node.name)
            continue
        if node.op == "placeholder" and node in values:
            continue
        inside = wrapped(node, module) if node.op == "call_function" else None
        if inside is not None:
            inner, operands = inside
            holders = [n for n in inner.graph.nodes if n.op == "placeholder"]
            bound = {h: fx.map_arg(o, lambda n: values[n]) for h, o in zip(holders, operands, strict=True)}
            values[node] = _copy(inner, graph, bound)
        elif _picks_from_inlined(node, values):
            values[node] = values[node.args[0]][node.args[1]]
        elif node.op == "call_function" and isinstance(node.target, HigherOrderOperator):
            raise NotImplementedError(f"`{node.target.name()}` holds graphs of its own")
        else:
            values[node] = graph.node_copy(node, lambda n: values[n])
            if node.op == "placeholder":  # fx renames what is called like a builtin, such as `input`
                values[node].name = node.name
    raise AssertionError(f"a graph without an output; modules {modules}")


def _picks_from_inlined(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    """Whether `node` is `getitem` on a wrapper that has been written out: its value is a plain tuple."""
    source = node.args[0] if node.target is operator.getitem else None
    return isinstance(source, fx.Node) and isinstance(values.get(source), tuple | list)
