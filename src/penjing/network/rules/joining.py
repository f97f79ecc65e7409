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

    What has too few dimensions is first made a row (vstack), a column (column_stack), a slice (dstack).
    """
    rank, name = len(op.output), op.name.removeprefix("aten.")
    ahead = {"vstack": (0,), "row_stack": (0,), "dstack": (0, 2), "column_stack": (1,), "hstack": (0,)}[name]
    parts = [_raised(axes, dims, rank, ahead) for dims in op.inputs()]
    place = {"vstack": 0, "row_stack": 0, "dstack": 2, "column_stack": 1, "hstack": min(1, rank - 1)}[name]
    _join(op, axes, parts, place)


def block_diag(op: Op, axes: Space) -> None:
    """block_diag([x[n m], y[k l], ...]) -> z[n+k m+l]: zeros elsewhere; vectors are rows"""
    parts = [_raised(axes, dims, 2, (0, 0)) for dims in op.inputs()]
    ties.same(axes, op.output, [axes.sum(*(dims[place] for dims in parts)) for place in (0, 1)])


def cartesian_prod(op: Op, axes: Space) -> None:
    """cartesian_prod([x[n], y[m], ...]) -> z[n*m*... 2]: every choice of one from each"""
    if len(op.output) > 1:
        axes.freeze(op.output[1], APART)
    axes.tie(op.output[0], axes.product(*(dims[0] for dims in op.inputs())))


def _raised(axes: Space, dims: Dims, rank: int, ahead: Sequence[int]) -> Dims:
    """`dims` with ones put in at the places `ahead`, the last of them first, until there are `rank`."""
    places = list(ahead)
    while len(dims) < rank:
        place = min(places.pop() if places else 0, len(dims))
        dims = (*dims[:place], axes.atom(1), *dims[place:])
    return dims


def _join(op: Op, axes: Space, parts: Sequence[Dims], place: int) -> None:
    for dims in parts:
        ties.others(axes, dims, op.output, place)
    axes.tie(op.output[place], axes.sum(*(dims[place] for dims in parts)))


def _stack(op: Op, axes: Space, parts: Sequence[Dims], place: int) -> None:
    for dims in parts:
        ties.same(axes, dims, ties.without(op.output, place))
    axes.freeze(op.output[place], APART)
