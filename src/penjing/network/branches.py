"""Residual branches: what can be left out whole (depth pruning), found in the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx

from penjing.network.arguments import bind, operator_name
from penjing.network.axis import name_of
from penjing.network.operator import module_of
from penjing.network.solve import Solution
from penjing.network.trace import Trace


@dataclass(frozen=True)
class Branch:
    """A residual branch f of `y = x + f(x)`: without it, y is x.

    Attributes:
        name: path of the innermost module that holds all of it.
        operators: names of its operators, in order.
        parameters: names of parameters and buffers that only it reads.
        joins: name of the operator that adds it to its input.
        skips: name of the operator (or input) that it branches off from.
    """

    name: str
    operators: tuple[str, ...]
    parameters: tuple[str, ...]
    joins: str
    skips: str


def find_branches(trace: Trace, solution: Solution) -> tuple[Branch, ...]:
    """Every branch that leaves its skip and has no way out but the sum with it, in order of the graph."""
    position = {node: place for place, node in enumerate(trace.graph.nodes)}
    found: list[Branch] = []
    taken: Counter[str] = Counter()
    for node in trace.graph.nodes:
        for skip, end in _sums(node, position):
            if skip not in solution.dependent:
                continue
            region = _region(skip, end, node, position, solution.dependent)
            if region is None:
                continue
            name = _common_path(region) or "branch"
            taken[name] += 1
            found.append(
                Branch(
                    name if taken[name] == 1 else f"{name}~{taken[name]}",
                    tuple(
                        n.name for n in sorted(region, key=position.__getitem__) if n.op == "call_function"
                    ),
                    _own_parameters(trace, region),
                    node.name,
                    skip.name,
                )
            )
            break
    return tuple(found)


def _sums(node: fx.Node, position: dict[fx.Node, int]) -> Iterator[tuple[fx.Node, fx.Node]]:
    """(skip, end of the branch), in both readings, if `node` adds two activations of one shape."""
    if (
        node.op != "call_function"
        or operator_name(node.target) != "aten.add"
        or node.kwargs.get("alpha", 1) != 1
    ):
        return
    tensors = [a for a in node.args if isinstance(a, fx.Node) and isinstance(a.meta.get("val"), torch.Tensor)]
    if len(tensors) != 2 or tensors[0] is tensors[1]:
        return
    if tensors[0].meta["val"].shape != tensors[1].meta["val"].shape:
        return
    for skip, end in (tensors, tensors[::-1]):
        if position[skip] < position[end]:
            yield skip, end


def _region(
    skip: fx.Node, end: fx.Node, join: fx.Node, position: dict[fx.Node, int], dependent: set[fx.Node]
) -> set[fx.Node] | None:
    """What is computed from `skip` on the way to `end`, and from parameters alone; None if used elsewhere.

    Other activations may lead in (a mask, the memory of an encoder); they stay.
    """
    after = _descendants(skip, position, position[end])
    if end not in after:
        return None
    region: set[fx.Node] = set()
    stack = [end]
    while stack:
        at = stack.pop()
        if at not in region and (at in after or at not in dependent):
            region.add(at)
            stack += at.all_input_nodes
    inside = region | {join}
    leaks = (n for n in region if n in after for user in n.users if user not in inside and not _is_idle(user))
    if next(leaks, None) is not None:
        return None
    if any(_changes_others(node, region) for node in region):
        return None
    for node in sorted(region - after, key=position.__getitem__, reverse=True):
        if not region.issuperset(node.users):  # computed for others too
            region.discard(node)
    return region


def _changes_others(node: fx.Node, region: set[fx.Node]) -> bool:
    """Whether `node` writes into a tensor that was not made in `region`: the rest would see it."""
    for name, argument in bind(node).items() if node.op == "call_function" else ():
        if isinstance(argument, fx.Node) and name in _written(node):
            at = argument
            while at in region and _may_be_its_input(at):
                at = at.all_input_nodes[0]
            if at not in region or at.op == "placeholder":
                return True
    return False


def _written(node: fx.Node) -> set[str]:
    schema = getattr(node.target, "_schema", None)
    arguments = schema.arguments if schema is not None else ()
    return {a.name for a in arguments if a.alias_info is not None and a.alias_info.is_write}


def _may_be_its_input(node: fx.Node) -> bool:
    """Whether what `node` returns may lie in the memory of its first input."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not node.all_input_nodes:
        return False
    return "dropout" in schema.name or any(r.alias_info is not None for r in schema.returns)


def _is_idle(node: fx.Node) -> bool:
    """Whether nobody reads what `node` computes (an assertion)."""
    return node.op != "output" and not node.users


def _descendants(start: fx.Node, position: dict[fx.Node, int], last: int) -> set[fx.Node]:
    found: set[fx.Node] = set()
    stack = [start]
    while stack:
        for user in stack.pop().users:
            if user not in found and position[user] <= last:
                found.add(user)
                stack.append(user)
    return found


def _own_parameters(trace: Trace, region: set[fx.Node]) -> tuple[str, ...]:
    holders = [node for node in region if node.op == "placeholder" and region.issuperset(node.users)]
    return tuple(name for node in holders if (name := name_of(trace, node.name)) is not None)


def _common_path(region: set[fx.Node]) -> str:
    paths = [module_of(node).split(".") for node in region if node.op == "call_function" and module_of(node)]
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
