"""Operators to which the position of an index along a dimension matters."""

from __future__ import annotations

from collections.abc import Iterable

from penjing.axes import Dim, Space
from penjing.network.op import Op
from penjing.network.rules import ties


def fixed(op: Op, axes: Space) -> None:
    """f(x[*n], ...) -> y[*m], ...: every dimension is frozen"""
    ties.freeze_all(op, axes, _reason(op))


def transform(op: Op, axes: Space) -> None:
    """fft(x[*a n *b], dim) -> y[*a m *b]: along one dimension, or several; diff alike"""
    x, *more = op.inputs()
    rank_two = "aten.fft_" in op.name and op.name.endswith("2")
    gone = ties.places_of(op.arguments.get("dim", [-2, -1] if rank_two else None), len(x))
    for dims in (*more, *ties.outputs(op)):
        ties.others(axes, x, dims, *gone)
        _freeze(op, axes, (dims[place] for place in gone))
    _freeze(op, axes, (x[place] for place in gone))


def integral(op: Op, axes: Space) -> None:
    """trapezoid(y[*a n *b], x[n]?, dim) -> z[*a *b]; cumulative_trapezoid(...) -> z[*a n-1 *b]"""
    y, z, x = op.dims("y"), op.output, op.maybe("x") or ()
    if len(x) > 1:
        raise ValueError("points of a grid of their own for every function")
    place = op.arguments.get("dim", -1) % len(y)
    left = z[place : place + 1] if len(z) == len(y) else ()
    ties.same(axes, ties.without(y, place), ties.without(z, place) if left else z)
    _freeze(op, axes, (y[place], *left, *x))


def triangle(op: Op, axes: Space) -> None:
    """tril, triu(x[*b n m]) -> y[*b n m]"""
    x = op.dims("self")
    ties.same(axes, x, op.output)
    _freeze(op, axes, x[-2:])


def diagonal(op: Op, axes: Space) -> None:
    """diagonal(x[*b n n], offset, dim1, dim2) -> y[*b n]; trace sums it

    Off the middle, or of an oblong matrix, rows and columns that meet have different positions.
    """
    x = op.inputs()[0]
    places = [op.arguments.get(name, default) % len(x) for name, default in (("dim1", 0), ("dim2", 1))]
    rows, columns = (x[place] for place in places)
    summed = len(op.output) == len(x) - 2
    ties.same(axes, ties.without(x, *places), op.output if summed else op.output[:-1])
    if axes.size(rows) != axes.size(columns) or op.arguments.get("offset", op.arguments.get("diagonal")):
        _freeze(op, axes, (rows, columns) if summed else (rows, columns, op.output[-1]))
        return
    axes.tie(rows, columns)
    if not summed:
        axes.tie(op.output[-1], rows)
    op.normalises = summed


def diag_embed(op: Op, axes: Space) -> None:
    """diag_embed(x[*b n], offset, dim1, dim2) -> y[*b n n]"""
    x, y = op.dims("self"), op.output
    places = [op.arguments.get(name, default) % len(y) for name, default in (("dim1", -2), ("dim2", -1))]
    ties.same(axes, x[:-1], ties.without(y, *places))
    if op.arguments.get("offset", op.arguments.get("diagonal")):
        _freeze(op, axes, (x[-1], *(y[place] for place in places)))
        return
    for place in places:
        axes.tie(x[-1], y[place])


def diag(op: Op, axes: Space) -> None:
    """diag(x[n]) -> y[n n], diag(x[n n]) -> y[n]"""
    (diag_embed if len(op.dims("self")) == 1 else diagonal)(op, axes)


def cross(op: Op, axes: Space) -> None:
    """cross(x[*a 3 *b], y[*a 3 *b], dim) -> z[*a 3 *b], broadcast"""
    for dims in op.inputs():
        ties.broadcast(axes, dims, op.output)
    threes = (place for place, dim in enumerate(op.output) if axes.size(dim) == 3)
    place = op.value("dim") if op.value("dim") is not None else next(threes)
    axes.freeze(op.output[place], "the three directions of space are not units")


def spectrogram(op: Op, axes: Space) -> None:
    """stft(x[b? n], window) -> y[b? f t]; istft the other way"""
    x, *window = op.inputs()
    lead = len(x) - (2 if op.name == "aten.istft" else 1)
    ties.same(axes, x[:lead], op.output[:lead])
    _freeze(op, axes, (*x[lead:], *op.output[lead:], *(dim for dims in window for dim in dims)))


def matrices(op: Op, axes: Space) -> None:
    """inverse, det, cholesky, svd ...: x[*b n m] -> y[*b ..], ...: each element of a matrix counts for all"""
    x = op.inputs()[0]
    lead = len(x) - 2
    _freeze(op, axes, x[lead:])
    for output in ties.outputs(op):
        ties.same(axes, output[:lead], x[:lead])
        _freeze(op, axes, output[lead:])


def complex_pair(op: Op, axes: Space) -> None:
    """view_as_complex(x[*b 2]) -> y[*b], and view_as_real the other way"""
    short, long = sorted((op.inputs()[0], op.output), key=len)
    ties.same(axes, short, long[:-1])
    axes.freeze(long[-1], "real and imaginary part are not units")


def _freeze(op: Op, axes: Space, dims: Iterable[Dim]) -> None:
    ties.freeze(axes, dims, _reason(op))


def _reason(op: Op) -> str:
    return f"{op.name} depends on positions"
