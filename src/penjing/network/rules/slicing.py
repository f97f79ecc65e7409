"""Operators that read or write a window of a dimension, by position."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Op
from penjing.network.rules import ties

STRIDE = "picked by a stride"


def slice_(op: Op, axes: Space) -> None:
    """slice(x[*a n *b], dim, start, end, step) -> y[*a m *b]"""
    x = op.dims("self")
    place = ties.place_of(op, x)
    ties.others(axes, x, op.output, place)
    axes.tie(op.output[place], _sliced(op, axes, x[place]))


def slice_scatter(op: Op, axes: Space) -> None:
    """slice_scatter(x[*a n *b], src[*a m *b], dim, start, end, step) -> y[*a n *b]"""
    x, src = op.dims("self"), op.dims("src")
    place = ties.place_of(op, x)
    ties.same(axes, x, op.output)
    ties.others(axes, x, src, place)
    axes.tie(src[place], _sliced(op, axes, x[place]))


def narrow(op: Op, axes: Space) -> None:
    """narrow(x[*a n *b], dim, start, length) -> y[*a length *b]"""
    x, start = op.dims("self"), op.value("start")
    place = ties.place_of(op, x)
    assert isinstance(start, int), "a start that is a tensor depends on values"
    ties.others(axes, x, op.output, place)
    before, middle, _ = _window(op, axes, x[place], start % (axes.size(x[place]) or 1), op.value("length"))
    axes.tie(op.output[place], middle)
    op.resize("start", before)
    op.resize("length", middle)


def select(op: Op, axes: Space) -> None:
    """select(x[*a n *b], dim, index) -> y[*a *b]"""
    x = op.dims("self")
    place = ties.place_of(op, x)
    ties.same(axes, ties.without(x, place), op.output)
    _one(op, axes, x[place])


def select_scatter(op: Op, axes: Space) -> None:
    """select_scatter(x[*a n *b], src[*a *b], dim, index) -> y[*a n *b]"""
    x = op.dims("self")
    place = ties.place_of(op, x)
    ties.same(axes, x, op.output)
    ties.same(axes, ties.without(x, place), op.dims("src"))
    _one(op, axes, x[place])


def roll(op: Op, axes: Space) -> None:
    """roll(x[*a h+t *b], shifts, dims) -> y[*a t+h *b]: the last indices come first"""
    x, y, shifts = op.dims("self"), op.output, op.value("shifts")
    assert op.value("dims"), "rolling the flattened tensor mixes all dimensions"
    places = ties.places_of(op.value("dims"), len(x))
    assert len(set(places)) == len(places), "a dimension is rolled twice"
    sizes: list[Dim] = []
    for place, shift in zip(places, [shifts] if isinstance(shifts, int) else shifts, strict=True):
        size = axes.size(x[place])
        head, tail = axes.split(x[place], (size - shift % size, shift % size))
        axes.tie(y[place], axes.sum(tail, head))
        sizes.append(tail)
    ties.others(axes, x, y, *places)
    op.resize("shifts", sizes)


def flip(op: Op, axes: Space) -> None:
    """flip(x[*a n *b], dims) -> y[*a n *b], n backwards; fliplr and flipud alike"""
    x = op.dims("self")
    named = {"aten.fliplr": [1], "aten.flipud": [0]}.get(op.name) or op.value("dims")
    places = [place % len(x) for place in named]
    ties.others(axes, x, op.output, *places)
    ties.freeze(axes, (dims[place] for place in places for dims in (x, op.output)), "read backwards")


def _sliced(op: Op, axes: Space, dim: Dim) -> Dim:
    """What `start`, `end` and `step` leave of `dim`."""
    size = axes.size(dim)
    start, end, step = slice(op.value("start"), op.value("end"), op.value("step")).indices(size)
    if step != 1:
        return _strided(axes, dim, start, end, step)
    before, middle, after = _window(op, axes, dim, start, max(end - start, 0))
    if start:
        op.resize("start", before)
    if end < size or op.value("end") == size:
        op.resize("end", axes.sum(before, middle))
    if 2 * axes.size(middle) == size and (start == 0 or end == size):
        op.balance((middle, before if start else after))
    return middle


def _one(op: Op, axes: Space, dim: Dim) -> None:
    """Reads `index` of `dim`; the first and the last are first and last of whatever is left."""
    given = op.value("index")
    before, _, _ = _window(op, axes, dim, given % axes.size(dim), 1)
    if given not in (0, -1):
        op.resize("index", before)


def _window(op: Op, axes: Space, dim: Dim, start: int, length: int) -> tuple[Dim, Dim, Dim]:
    """The pieces of `dim` before, in, and after a window; what the window leaves out is declared unread."""
    size = axes.size(dim)
    if (start, length) == (0, size):
        return axes.atom(0), dim, axes.atom(0)
    before, middle, after = axes.split(dim, (start, length, size - start - length))
    op.rest(before)
    op.rest(after)
    return before, middle, after


def _strided(axes: Space, dim: Dim, start: int, end: int, step: int) -> Dim:
    """Every `step`-th index of `dim` from `start` on: the slow digit where the step divides."""
    size = axes.size(dim)
    whole, left = divmod(size, step)
    if start >= step or end < size or not whole:
        picked = axes.atom(len(range(start, end, step)))
        ties.freeze(axes, (dim, picked), STRIDE)
        return picked
    regular, tail = axes.split(dim, (whole * step, left))
    slow, fast = axes.factor(regular, (whole, step))
    axes.split(fast, (1,) * step)
    axes.freeze(tail, "the last, shorter stride")
    if start >= left:
        return slow
    return axes.sum(slow, axes.split(tail, (start, 1, left - start - 1))[1])
