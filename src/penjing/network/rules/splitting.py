"""Operators that cut one tensor apart along a dimension."""

from __future__ import annotations

from collections.abc import Sequence

from penjing.axes import Dim, Space
from penjing.network.op import Op
from penjing.network.rules import ties


def split(op: Op, axes: Space) -> None:
    """chunk, split, tensor_split: x[*a n *b] -> [*a n1 *b], [*a n2 *b], ... with n = n1 + n2 + ..."""
    x = op.inputs()[0]
    pieces = _cut(op, axes, ties.place_of(op, x))
    if "split_sizes" in op.arguments:
        op.resize("split_sizes", pieces)
    elif isinstance(op.arguments.get("split_size"), list | tuple):
        op.resize("split_size", pieces)
    else:
        if "split_size" in op.arguments:
            op.resize("split_size", pieces[0])
        _by_number(op, axes, ties.place_of(op, x), pieces)


def split_along(op: Op, axes: Space) -> None:
    """hsplit, vsplit, dsplit: along the second (of a vector, the only), first or third dimension"""
    x = op.dims("self")
    place = {"aten.hsplit": min(1, len(x) - 1), "aten.vsplit": 0, "aten.dsplit": 2}[op.name]
    _by_number(op, axes, place, _cut(op, axes, place))


def unbind(op: Op, axes: Space) -> None:
    """unbind(x[*a n *b], dim) -> n times [*a *b]"""
    x = op.dims("self")
    place = ties.place_of(op, x)
    for output in ties.outputs(op):
        ties.same(axes, ties.without(x, place), output)
    axes.freeze(x[place], "its indices are taken apart one by one")


def _cut(op: Op, axes: Space, place: int) -> list[Dim]:
    x, outputs = op.inputs()[0], ties.outputs(op)
    pieces = [dims[place] for dims in outputs]
    axes.tie(x[place], axes.sum(*pieces))
    for dims in outputs:
        ties.others(axes, x, dims, place)
    return pieces


def _by_number(op: Op, axes: Space, place: int, pieces: Sequence[Dim]) -> None:
    """How many pieces, or how long each: no longer true where the pieces come to differ."""
    op.cuts_into(place, pieces)
    equal = [piece for piece in pieces if axes.size(piece) == axes.size(pieces[0])]
    if len(equal) > 1:
        op.balance(equal)
