"""Operators that join tensors along a dimension, or cut one apart."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op


def cat(op: Op, axes: Space) -> None:
    """cat([x[*a n *b], y[*a m *b], ...], dim) -> z[*a n+m *b]"""
    rank = len(op.output)
    parts = [dims for dims in op.many("tensors") if dims is not None and len(dims) == rank]
    place = op.value("dim") % rank
    for dims in parts:
        _tie_others(axes, dims, op.output, place)
    axes.tie(op.output[place], axes.sum(*(dims[place] for dims in parts)))


def stack_along(op: Op, axes: Space) -> None:
    """hstack, vstack, dstack([x, y, ...]): cat along the second, first or third dimension"""
    place = {"aten.hstack": min(1, len(op.output) - 1), "aten.vstack": 0, "aten.dstack": 2}[op.name]
    parts = op.many("tensors")
    assert all(dims is not None and len(dims) == len(op.output) for dims in parts), "tensors gain dimensions"
    for dims in parts:
        _tie_others(axes, dims or (), op.output, place)
    axes.tie(op.output[place], axes.sum(*(dims[place] for dims in parts if dims)))


def stack(op: Op, axes: Space) -> None:
    """stack([x[*a *b], y[*a *b], ...], dim) -> z[*a n *b]"""
    place = op.value("dim") % len(op.output)
    others = (*op.output[:place], *op.output[place + 1 :])
    for dims in op.many("tensors"):
        for before, after in zip(dims or (), others, strict=True):
            axes.tie(before, after)
    axes.freeze(op.output[place], "tensors are stacked one by one")


def split(op: Op, axes: Space) -> None:
    """chunk, split and tensor_split: x[*a n *b] -> [*a n1 *b], [*a n2 *b], ... with n = n1 + n2 + ..."""
    x, place = op.inputs()[0], op.value("dim") % len(op.inputs()[0])
    outputs: list[Dims] = [dims for dims in op.outputs if dims is not None]
    pieces = [dims[place] for dims in outputs]
    axes.tie(x[place], axes.sum(*pieces))
    for dims in outputs:
        _tie_others(axes, x, dims, place)
    if "split_sizes" in op.arguments:
        op.resize("split_sizes", pieces)
    elif op.name == "aten.split" and isinstance(op.value("split_size"), list | tuple):
        op.resize("split_size", pieces)
    else:
        op.cuts_into(place, pieces)
        _balance_equal(op, axes, pieces)
        if op.name == "aten.split":
            op.resize("split_size", pieces[0])


def unbind(op: Op, axes: Space) -> None:
    """unbind(x[*a n *b], dim) -> n times [*a *b]"""
    x, place = op.dims("self"), op.value("dim") % len(op.dims("self"))
    for output in op.outputs:
        for before, after in zip((*x[:place], *x[place + 1 :]), output or (), strict=True):
            axes.tie(before, after)
    axes.freeze(x[place], "its indices are taken apart one by one")


def _balance_equal(op: Op, axes: Space, pieces: list[Dim]) -> None:
    whole = [piece for piece in pieces if axes.size(piece) == axes.size(pieces[0])]
    if len(whole) > 1:
        op.balance(whole)


def _tie_others(axes: Space, left: Dims, right: Dims, place: int) -> None:
    for at, (before, after) in enumerate(zip(left, right, strict=True)):
        if at != place:
            axes.tie(before, after)
