"""Operators that pick some indices of a dimension."""

from __future__ import annotations

from itertools import pairwise

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules.elementwise import tie_broadcast

BY_VALUE = "its indices are looked up by value"


def slice_(op: Op, axes: Space) -> None:
    """slice(x[*a n *b], dim, start, end, step) -> y[*a m *b]"""
    x, place = op.dims("self"), op.value("dim") % len(op.dims("self"))
    size = axes.size(x[place])
    given = op.value("start"), op.value("end")
    start, end, step = slice(*given, op.value("step")).indices(size)
    y = op.output
    _pass_others(axes, x, y, place)
    if step == 1:
        before, middle, after = _window(op, axes, x[place], start, max(end - start, 0))
        axes.tie(y[place], middle)
        if start:
            op.resize("start", before)
        if end < size:
            op.resize("end", axes.sum(before, middle))
        if 2 * axes.size(middle) == size and (start == 0 or end == size):
            op.balance((middle, before if start else after))
    else:
        axes.tie(y[place], _strided(op, axes, x[place], start, end, step))


def narrow(op: Op, axes: Space) -> None:
    """narrow(x[*a n *b], dim, start, length) -> y[*a length *b]"""
    x, place = op.dims("self"), op.value("dim") % len(op.dims("self"))
    start = op.value("start")
    assert isinstance(start, int), "a start that is a tensor depends on values"
    _pass_others(axes, x, op.output, place)
    before, middle, _ = _window(op, axes, x[place], start % axes.size(x[place]), op.value("length"))
    axes.tie(op.output[place], middle)
    op.resize("start", before)
    op.resize("length", middle)


def select(op: Op, axes: Space) -> None:
    """select(x[*a n *b], dim, index) -> y[*a *b]"""
    x, place = op.dims("self"), op.value("dim") % len(op.dims("self"))
    for before, after in zip((*x[:place], *x[place + 1 :]), op.output, strict=True):
        axes.tie(before, after)
    index = op.value("index") % axes.size(x[place])
    ahead, _, _ = _window(op, axes, x[place], index, 1)
    if op.value("index") > 0:
        op.resize("index", ahead)


def index(op: Op, axes: Space) -> None:
    """index(x[*a n *b], [None.., i[*k], None..]) -> y[*a *k *b]; index_put_ writes to the same places"""
    x = op.dims("self")
    places = [place for place, given in enumerate(op.value("indices")) if given is not None]
    tables = [op.of(given) for given in op.value("indices") if given is not None]
    assert all(table is not None for table in tables)
    boolean = any(op.value("indices")[place].meta["val"].dtype.is_floating_point is False
                  and str(op.value("indices")[place].meta["val"].dtype) in ("torch.bool", "torch.uint8") for place in places)
    assert not boolean, "a boolean index depends on values"
    rank = max((len(table or ()) for table in tables), default=0)
    together = all(b - a == 1 for a, b in pairwise(places))
    at = places[0] if together and places else 0
    others = [dim for place, dim in enumerate(x) if place not in places]
    picked = op.maybe("values") if op.name == "aten.index_put" else op.output
    if op.name == "aten.index_put":
        tie_broadcast(axes, x, op.output)
    if picked is not None and len(picked) == len(others) + rank:
        for before, after in zip(others, (*picked[:at], *picked[at + rank :]), strict=True):
            if axes.size(after) != 1 or axes.size(before) == 1:
                axes.tie(before, after)
        made = picked[at : at + rank]
        for table in tables:
            tie_broadcast(axes, table or (), made)
    else:
        made = ()
        for dim in (*x, *(picked or ())):
            axes.freeze(dim, BY_VALUE)
    for place in places:
        axes.freeze(x[place], BY_VALUE)
    for dim in made:
        axes.freeze(dim, BY_VALUE)


def index_select(op: Op, axes: Space) -> None:
    """index_select(x[*a n *b], dim, i[k]) -> y[*a k *b]"""
    x, place = op.dims("self"), op.value("dim") % len(op.dims("self"))
    _pass_others(axes, x, op.output, place)
    axes.freeze(x[place], BY_VALUE)
    axes.freeze(op.output[place], BY_VALUE)


def gather(op: Op, axes: Space) -> None:
    """gather(x[*a n *b], dim, i[*a k *b]) -> y[*a k *b]; scatter and index_add write the other way"""
    x, table, y = op.dims("self"), op.dims("index"), op.output
    place = op.value("dim") % len(x)
    others: list[Dims] = [table] if len(table) == len(x) else []
    source = op.maybe("src") or op.maybe("source")
    if source is not None and len(source) == len(x):
        others.append(source)
    others.append(y)
    for dims in others:
        for at, (one, other) in enumerate(zip(x, dims, strict=True)):
            if at != place and axes.size(one) == axes.size(other):
                axes.tie(one, other)
            else:
                axes.freeze(one, BY_VALUE)
                axes.freeze(other, BY_VALUE)
    for dim in table if len(table) != len(x) else ():
        axes.freeze(dim, BY_VALUE)


def roll(op: Op, axes: Space) -> None:
    """roll(x[*a n *b], shifts, dims): the last `shift` indices come first"""
    x, y, places = op.dims("self"), op.output, [d % len(op.dims("self")) for d in op.value("dims") or ()]
    assert places, "rolling the flattened tensor mixes all dimensions"
    sizes: list[Dim | None] = []
    shifts = op.value("shifts")
    for place, shift in zip(places, [shifts] if isinstance(shifts, int) else shifts, strict=True):
        size = axes.size(x[place])
        head, tail = axes.split(x[place], (size - shift % size, shift % size))
        axes.tie(y[place], axes.sum(tail, head))
        sizes.append(tail if shift >= 0 else None)
        if shift < 0:
            axes.freeze(x[place], "rolled backwards by a fixed number")
    for place, (before, after) in enumerate(zip(x, y, strict=True)):
        if place not in places:
            axes.tie(before, after)
    op.resize("shifts", sizes)


def flip(op: Op, axes: Space) -> None:
    """flip(x[*a n *b], dims) -> y[*a n *b], n backwards"""
    x = op.dims("self")
    places = {d % len(x) for d in op.value("dims")}
    for place, (before, after) in enumerate(zip(x, op.output, strict=True)):
        if place in places:
            axes.freeze(before, "read backwards")
            axes.freeze(after, "read backwards")
        else:
            axes.tie(before, after)


def _window(op: Op, axes: Space, dim: Dim, start: int, length: int) -> tuple[Dim, Dim, Dim]:
    """The pieces of `dim` before, in, and after a window; what the window leaves out is declared unread."""
    size = axes.size(dim)
    if (start, length) == (0, size):
        return axes.atom(0), dim, axes.atom(0)
    before, middle, after = axes.split(dim, (start, length, size - start - length))
    op.rest(before)
    op.rest(after)
    return before, middle, after


def _strided(op: Op, axes: Space, dim: Dim, start: int, end: int, step: int) -> Dim:
    """Every `step`-th index of `dim` from `start` on: the slow digit where the step divides."""
    size = axes.size(dim)
    whole, left = divmod(size, step)
    if step < 1 or start >= step or end < size or not whole:
        axes.freeze(dim, "picked by a stride")
        picked = axes.atom(len(range(start, end, step)))
        axes.freeze(picked, "picked by a stride")
        return picked
    regular, tail = axes.split(dim, (whole * step, left))
    slow, fast = axes.factor(regular, (whole, step))
    axes.split(fast, (1,) * step)
    if start >= left:
        return slow
    axes.freeze(tail, "the last, shorter stride")
    return axes.sum(slow, axes.split(tail, (start, 1, left - start - 1))[1])


def _pass_others(axes: Space, left: Dims, right: Dims, place: int) -> None:
    for at, (before, after) in enumerate(zip(left, right, strict=True)):
        if at != place:
            axes.tie(before, after)
