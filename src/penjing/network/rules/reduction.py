"""Operators that fold a dimension up."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties
from penjing.network.rules.ordering import order


def reduce(op: Op, axes: Space) -> None:
    """reduce(x[*a n *b], dim?, keepdim?) -> y[*a *b], or with 1 in place of n"""
    x = op.inputs()[0]
    gone = ties.places_of(op.arguments.get("dim"), len(x))
    for output in ties.outputs(op):
        if len(output) == len(x):
            ties.others(axes, x, output, *gone)
        else:
            ties.same(axes, ties.without(x, *gone), output)
    op.normalises = True


def scan(op: Op, axes: Space) -> None:
    """cumsum(x[*a n *b], dim) -> y[*a n *b], and indices of extremes: of what is left up to here"""
    x = op.inputs()[0]
    for output in ties.outputs(op):
        ties.same(axes, x, output)
    if len(op.outputs) > 1 and ties.used(op, 1):
        axes.freeze(x[ties.place_of(op, x)], "its positions are put out")
    op.normalises = True


def extreme(op: Op, axes: Space) -> None:
    """max(x), max(x, dim) -> values, indices; max(x, y) element by element; min alike"""
    if op.arguments.get("other") is not None:
        for dims in op.inputs():
            ties.broadcast(axes, dims, op.output)
    elif op.arguments.get("dim") is not None and ties.used(op, 1):
        order(op, axes)
    else:
        reduce(op, axes)
