"""Operators that join tensors along a dimension."""

from __future__ import annotations

from collections.abc import Sequence

from penjing.axes import Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties

APART = "tensors are stacked one by one"


def cat(op: Op, axes: Space) -> None:
    """cat([x[*a n *b], y[*a m *b], ...], dim) -> z[*a n+m *b]; an empty vector among them is left out"""
    rank = len(op.output)
    parts = [dims for dims in op.many("tensors") if dims is not None and len(dims) == rank]
    _join(op, axes, parts, ties.place_of(op, op.output))


def stack(op: Op, axes: Space) -> None:
    """stack([x[*a *b], y[*a *b], ...], dim) -> z[*a n *b]"""
    _stack(op, axes, op.inputs(), ties.place_of(op, op.output))


def cat_along(op: Op, axes: Space) -> None:
    """hstack, vstack, dstack, column_stack([x, y, ...]): cat along the dimension of that name

    Vectors are first made matrices: vstack stacks them as rows, column_stack and dstack as columns.
    """
    rank, parts = len(op.output), op.inputs()
    vectors = all(len(dims) == 1 for dims in parts)
    place = {"hstack": min(1, rank - 1), "vstack": 0, "row_stack": 0, "dstack": 2, "column_stack": 1}[
        op.name.removeprefix("aten.")
    ]
    if all(len(dims) == rank for dims in parts):
        _join(op, axes, parts, place)
    elif rank == 2 and vectors:
        _stack(op, axes, parts, place)
    else:
        ties.freeze_all(op, axes, APART)


def block_diag(op: Op, axes: Space) -> None:
    """block_diag([x[n m], y[k l], ...]) -> z[n+k m+l]: zeros elsewhere"""
    parts = op.inputs()
    if all(len(dims) == 2 for dims in parts):
        ties.same(axes, op.output, [axes.sum(*(dims[place] for dims in parts)) for place in (0, 1)])
    else:
        ties.freeze_all(op, axes, APART)


def _join(op: Op, axes: Space, parts: Sequence[Dims], place: int) -> None:
    for dims in parts:
        ties.others(axes, dims, op.output, place)
    axes.tie(op.output[place], axes.sum(*(dims[place] for dims in parts)))


def _stack(op: Op, axes: Space, parts: Sequence[Dims], place: int) -> None:
    for dims in parts:
        ties.same(axes, dims, ties.without(op.output, place))
    axes.freeze(op.output[place], APART)
