"""Operators that fold a dimension up, or order it by value."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules.elementwise import tie_broadcast


def reduce(op: Op, axes: Space) -> None:
    """reduce(x[*a n *b], dim?, keepdim?) -> y[*a *b], or with 1 in place of n"""
    x = op.inputs()[0]
    named = op.arguments.get("dim")
    if named is None and "dims" in op.arguments:
        named = op.arguments["dims"]
    places = range(len(x)) if named is None or named == [] else [named] if isinstance(named, int) else named
    gone = {place % len(x) for place in places}
    for output in op.outputs:
        if output is None:
            continue
        kept_dims = len(output) == len(x)
        left = [dim for place, dim in enumerate(x) if kept_dims or place not in gone]
        for place, (before, after) in enumerate(zip(left, output, strict=True)):
            if not (kept_dims and place in gone):
                axes.tie(before, after)
    op.normalises = True


def scan(op: Op, axes: Space) -> None:
    """cumsum(x[*a n *b], dim) -> y[*a n *b]: running, so in what is left the others are simply not there"""
    for output in op.outputs:
        if output is not None:
            tie_broadcast(axes, op.inputs()[0], output)
    op.normalises = True


def order(op: Op, axes: Space) -> None:
    """topk, sort, argmax ...: x[*a n *b], dim -> y[*a k *b]: positions along n are chosen by value"""
    x = op.inputs()[0]
    dim = op.arguments.get("dim")
    for output in op.outputs:
        if output is None:
            continue
        if dim is None:
            for every in (*x, *output):
                axes.freeze(every, "its indices are chosen by value")
            continue
        place = dim % len(x)
        axes.freeze(x[place], "its indices are chosen by value")
        if len(output) == len(x):
            axes.freeze(output[place], "its indices are chosen by value")
            left, right = (*x[:place], *x[place + 1 :]), (*output[:place], *output[place + 1 :])
        else:
            left, right = (*x[:place], *x[place + 1 :]), output
        for before, after in zip(left, right, strict=True):
            axes.tie(before, after)


def extreme(op: Op, axes: Space) -> None:
    """max(x), max(x, dim) -> values, indices; max(x, y) elementwise"""
    if op.arguments.get("other") is not None:
        for dims in op.inputs():
            tie_broadcast(axes, dims, op.output)
    elif op.arguments.get("dim") is None:
        op.normalises = True
    else:
        indices_used = any(user.args[1] == 1 for user in op.node.users if len(user.args) > 1)
        (order if indices_used else reduce)(op, axes)


def fixed(op: Op, axes: Space) -> None:
    """Positions of every dimension matter (triangles, diagonals, transforms): frozen, by this operator's name."""
    for dims in [*op.inputs(), *(output or () for output in op.outputs)]:
        for dim in dims:
            axes.freeze(dim, f"{op.name} depends on positions")


def triangle(op: Op, axes: Space) -> None:
    """tril, triu(x[*b n m]) -> y[*b n m]: positions in n and m matter"""
    x = op.dims("self")
    tie_broadcast(axes, x, op.output)
    for dim in x[-2:]:
        axes.freeze(dim, f"{op.name} depends on positions")


def one_hot(op: Op, axes: Space) -> None:
    """one_hot(i[*b], n) -> y[*b n]"""
    tie_broadcast(axes, op.dims("self"), op.output[:-1])
    axes.freeze(op.output[-1], "its indices are chosen by value")


def last_pair(op: Op, axes: Space) -> None:
    """view_as_complex(x[*b 2]) -> y[*b] and view_as_real the other way: the pair is not a unit"""
    x, y = op.inputs()[0], op.output
    tie_broadcast(axes, x[: min(len(x), len(y))], y[: min(len(x), len(y))])
    for dim in (*x[len(y) :], *y[len(x) :]):
        axes.freeze(dim, "real and imaginary part")
