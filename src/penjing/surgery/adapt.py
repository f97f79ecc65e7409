"""From what was seen to new values of the integers that a module remembers."""

from __future__ import annotations

import operator
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from penjing.axes import Dim
from penjing.network import Network
from penjing.network.op import Op
from penjing.surgery.literals import Path
from penjing.surgery.selection import Selection
from penjing.surgery.tracked import (
    Expression,
    Leaf,
    Node,
    Origin,
    Tracked,
    divides,
    evaluate,
    expression_of,
    origins,
)
from penjing.surgery.watch import CallKey, Sighting, Watch, nodes_by_call

HEADS: Path = (0, 4)
"""Where `F.multi_head_attention_forward` is told the number of heads: its fifth positional argument."""


_FROM_THE_END = ("aten.slice", "aten.slice_scatter", "aten.select", "aten.select_scatter", "aten.narrow")
"""Operators along `dim` of `self`, whose negative numbers count from its end."""


_BY_INDEX = ("__getitem__", "__setitem__")
"""Calls that say by position, not by number, which dimension they mean."""


@dataclass(frozen=True)
class Demand:
    """An expression of remembered integers that must have a value after the cut.

    Attributes:
        expression: of attributes and shapes.
        value: what it must be.
        call: what asks for it.
        compared: whether the user's code compares it itself, so that no correction of a call can help.
    """

    expression: Expression
    value: int
    call: str
    compared: bool = False


def demands(net: Network, watch: Watch, selection: Selection) -> list[Demand]:
    """What every sighting asks for: the new size where an operator's rule declares one, else the old value.

    Two remembered integers that the code found equal must stay so.
    """
    nodes = nodes_by_call(net)
    found: list[Demand] = []
    for sighting in watch.sightings:
        if not any(isinstance(number, Tracked) for number in sighting.numbers.values()):
            continue
        wanted = new_numbers(net, selection, sighting, nodes.get(sighting.key, []))
        for path, number in sighting.numbers.items():
            expression = expression_of(number) if isinstance(number, int) else number
            if not isinstance(expression, int | float):
                found.append(Demand(expression, wanted[path], sighting.key[0]))
    for left, right in watch.equal:
        if isinstance(left, Tracked) and isinstance(right, Tracked):
            difference = Node(operator.sub, left.expression, right.expression)
            found.append(Demand(difference, 0, "a comparison", compared=True))
    return found


def new_numbers(
    net: Network, selection: Selection, sighting: Sighting, nodes: list[fx.Node]
) -> dict[Path, Any]:
    """Each number of a call after the cut: a float stays, an integer is what its operator's rule says."""
    if sighting.place.function == F.multi_head_attention_forward.__name__:
        heads = heads_left(net, selection, nodes, int(sighting.numbers[HEADS]))
        return {**sighting.numbers, HEADS: heads}
    whole = {path: number for path, number in sighting.numbers.items() if isinstance(number, int)}
    unsaid = ("dim",) if sighting.place.function in _BY_INDEX else ()
    stated = [pair for node in nodes for pair in _stated(net, selection, node, unsaid)]
    after = _match([int(number) for number in whole.values()], stated)
    return {**sighting.numbers, **dict(zip(whole, after, strict=True))}


def heads_left(net: Network, selection: Selection, nodes: list[fx.Node], heads: int) -> int:
    """Heads that attention keeps: the slow factor of the width that its output projection reads.

    Raises:
        ValueError: heads and head width are not separate.
    """
    space = net.solution.space
    linear = [node for node in nodes if node.target is torch.ops.aten.linear.default][-1]
    op = net.solution.ops[linear]
    width: Dim = op.dims("weight")[1]
    left, whole = 1, 1
    for factor in space.parts(width) or (width,):
        if whole == heads:
            break
        whole *= space.size(factor)
        left *= selection.size(factor)
    if whole != heads:
        raise ValueError("heads and head width are not separate")
    return left


def known_shapes(net: Network, watch: Watch, selection: Selection) -> dict[Origin, int]:
    """New values of the sizes that the user's code read from tensors."""
    nodes = nodes_by_call(net)
    given = {node.name: node for node in net.trace.graph.nodes if node.op == "placeholder"}
    given |= {name: given[holder] for holder, name in net.trace.state.items()}
    values: dict[Origin, int] = {}
    for sighting in watch.sightings:
        for number in [n for n in sighting.numbers.values() if isinstance(n, int)] + [
            n for pair in watch.equal for n in pair
        ]:
            for leaf in origins(expression_of(number)):
                if leaf.origin[0] != "shape" or leaf.origin in values:
                    continue
                size = _size_after(net, selection, nodes, given, leaf)
                if size is not None:
                    values[leaf.origin] = size
    return values


def solve(
    wanted: list[Demand], known: dict[Origin, int], *, settle: bool = False
) -> tuple[dict[Origin, int], list[Demand]]:
    """New values of attributes that satisfy the demands, and the demands that cannot be satisfied.

    Demands on a single attribute decide it; those on expressions decide the attribute that is left open in
    them. Where several values of it would do (0 * width is 0), other demands are heard first; what the code
    compares itself comes before all calls, for those can be corrected.

    Args:
        wanted: the demands.
        known: new values of what is no attribute (shapes).
        settle: where demands leave several attributes open, let one of them keep its old value and go on;
            done anyway where the code compares them itself.
    """
    values = dict(known)
    failed: list[Demand] = []
    waiting = sorted(
        wanted, key=lambda demand: (not demand.compared, not isinstance(demand.expression, Leaf))
    )
    while waiting:
        later: list[Demand] = []
        for demand in waiting:
            open_ = _open(demand, values)
            if not open_:
                if evaluate(demand.expression, values) != demand.value:
                    failed.append(demand)
            elif len(open_) == 1:
                fits = _fitting(demand, open_[0], values)
                if fits is None:
                    failed.append(demand)
                elif _is_vague(demand, open_[0], values, fits):
                    later.append(demand)
                else:
                    values[open_[0].origin] = fits
            else:
                later.append(demand)
        if len(later) == len(waiting):
            vague = next((demand for demand in later if len(_open(demand, values)) == 1), None)
            if vague is not None:
                leaf = _open(vague, values)[0]
                values[leaf.origin] = _fitting(vague, leaf, values) or leaf.value
                continue
            stuck = [demand for demand in later if settle or demand.compared]
            if not stuck:
                break
            unchanged = [demand for demand in stuck if evaluate(demand.expression, values) == demand.value]
            leaf = _open((unchanged or stuck)[0], values)[-1]
            values[leaf.origin] = leaf.value
        waiting = later
    return {origin: value for origin, value in values.items() if origin[0] == "attribute"}, failed


def _open(demand: Demand, values: dict[Origin, int]) -> list[Leaf]:
    left = {leaf.origin: leaf for leaf in origins(demand.expression) if leaf.origin not in values}
    return [leaf for leaf in left.values() if leaf.origin[0] == "attribute"]


def _fitting(demand: Demand, leaf: Leaf, values: dict[Origin, int]) -> int | None:
    """The value of `leaf` that meets the demand: its old one if that does, else a smaller one.

    Of several in a row (8 // 2 is 4, and so is 9 // 2) the one that divides without a rest, or the largest.
    """
    if isinstance(demand.expression, Leaf):
        return demand.value
    largest: int | None = None
    for candidate in range(leaf.value, 0, -1):
        tried = {**values, leaf.origin: candidate}
        if evaluate(demand.expression, tried) != demand.value:
            if largest is not None:
                break
        elif candidate == leaf.value or divides(demand.expression, tried):
            return candidate
        else:
            largest = largest or candidate
    return largest


def _is_vague(demand: Demand, leaf: Leaf, values: dict[Origin, int], fits: int) -> bool:
    """Whether a value next to `fits` meets the demand as well."""
    if isinstance(demand.expression, Leaf):
        return False
    return any(
        evaluate(demand.expression, {**values, leaf.origin: near}) == demand.value
        for near in (fits - 1, fits + 1)
        if near > 0
    )


def _stated(
    net: Network, selection: Selection, node: fx.Node, unsaid: Container[str]
) -> list[tuple[int, int]]:
    """(old, new) for every integer of a node's arguments that its call says, in order."""
    op = net.solution.ops.get(node)
    before = _numbers(node.args) + _numbers(node.kwargs)
    if op is None:
        return [(number, number) for number in before]
    pairs: list[tuple[int, int]] = []
    for name, value in op.arguments.items():
        if name in unsaid:
            continue
        stated = op.sizes.get(name)
        pairs += _pairs(op, selection, value, stated)
    return pairs


def _pairs(op: Op, selection: Selection, value: Any, stated: Any) -> list[tuple[int, int]]:
    if isinstance(value, int) and not isinstance(value, bool):
        dim = stated[0] if isinstance(stated, list) else stated
        return [(value, _after(op, selection, value, dim) if dim is not None else value)]
    if isinstance(value, list | tuple):
        dims = stated if isinstance(stated, list) else [None] * len(value)
        return [
            pair
            for entry, dim in zip(value, dims, strict=False)
            for pair in _pairs(op, selection, entry, dim)
        ]
    return []


def _after(op: Op, selection: Selection, value: int, dim: Dim) -> int:
    """The number that `value` becomes; one that counts from the end goes on doing so where it can."""
    new = selection.size(dim) if selection.touches(dim) else value
    x = op.maybe("self") if value < 0 and new != value and op.name in _FROM_THE_END else None
    if x:
        return min(new - selection.size(x[op.value("dim") % len(x)]), 0) or new
    return new


def _match(numbers: list[int], stated: list[tuple[int, int]]) -> list[int]:
    """New numbers of a call: by position where the node's integers are the same, else by value."""
    olds = [old for old, _ in stated]
    window = _find(numbers, olds)
    if window is not None:
        return [new for _, new in stated[window : window + len(numbers)]]
    left: dict[int, list[int]] = {}
    for old, new in stated:
        if new != old:
            left.setdefault(old, []).append(new)
    return [(left[n].pop(0) if len(left[n]) > 1 else left[n][0]) if n in left else n for n in numbers]


def _find(needle: list[int], hay: list[int]) -> int | None:
    for start in range(len(hay) - len(needle) + 1):
        if hay[start : start + len(needle)] == needle:
            return start
    return None


def _size_after(
    net: Network,
    selection: Selection,
    nodes: dict[CallKey, list[fx.Node]],
    given: dict[str, fx.Node],
    leaf: Leaf,
) -> int | None:
    _, call, kind, output, dim = leaf.origin
    if call == "given":
        value = net.solution.values.get(given[kind]) if kind in given else None
    else:
        made = [
            node for node in nodes.get((call, kind), ()) if isinstance(net.solution.values.get(node), tuple)
        ]
        lists = [
            node for node in nodes.get((call, kind), ()) if isinstance(net.solution.values.get(node), list)
        ]
        if lists:
            many = net.solution.values[lists[-1]]
            value = many[int(output)] if isinstance(many, list) and int(output) < len(many) else None
        else:
            value = net.solution.values[made[-1]] if made else None
    if (
        not isinstance(value, tuple)
        or int(dim) >= len(value)
        or net.solution.space.size(value[int(dim)]) != leaf.value
    ):
        return None
    return selection.size(value[int(dim)])


def _numbers(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [n for entry in value.values() for n in _numbers(entry)]
    if isinstance(value, list | tuple):
        return [n for entry in value for n in _numbers(entry)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []
