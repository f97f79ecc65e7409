"""Operators that order a dimension by value, or choose from it."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties

CHOSEN = "its indices are chosen by value"


def order(op: Op, axes: Space) -> None:
    """topk, sort, argmax ...: x[*a n *b], dim -> y[*a k *b], or y[*a *b]"""
    x, dim = op.inputs()[0], 0 if op.name == "aten.msort" else op.arguments.get("dim")
    if dim is None or not x:
        ties.freeze_all(op, axes, CHOSEN)
        return
    place = dim % len(x)
    axes.freeze(x[place], CHOSEN)
    for output in ties.outputs(op):
        if len(output) == len(x):
            ties.others(axes, x, output, place)
            axes.freeze(output[place], CHOSEN)
        else:
            ties.same(axes, ties.without(x, place), output)


def quantile(op: Op, axes: Space) -> None:
    """quantile(x[*a n *b], q[k]?, dim?) -> y[k? *a *b]: of what is left, whatever its order"""
    x, q = op.dims("self"), op.maybe("q") or ()
    gone = ties.places_of(op.value("dim"), len(x))
    ties.same(axes, q, op.output[: len(q)])
    y = op.output[len(q) :]
    if len(y) == len(x):
        ties.others(axes, x, y, *gone)
    else:
        ties.same(axes, ties.without(x, *gone), y)
    op.normalises = True


def chosen(op: Op, axes: Space) -> None:
    """nonzero, unique, histc, masked_select ...: how many there are, and where, depends on values"""
    ties.freeze_all(op, axes, CHOSEN)
