"""Operators that read or write indices of a dimension by value."""

from __future__ import annotations

from itertools import pairwise

import torch

from penjing.axes import Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties

BY_VALUE = "its indices are looked up by value"


def index(op: Op, axes: Space) -> None:
    """index(x[*a n *b], [None.., i[*k], None..]) -> y[*a *k *b]"""
    ties.same(axes, op.output, _picked(op, axes))


def index_put(op: Op, axes: Space) -> None:
    """index_put(x[*a n *b], [None.., i[*k], None..], values[*a *k *b]) -> x[*a n *b], values broadcast"""
    ties.same(axes, op.dims("self"), op.output)
    ties.broadcast(axes, op.dims("values"), _picked(op, axes))


def index_select(op: Op, axes: Space) -> None:
    """index_select(x[*a n *b], dim, i[k]) -> y[*a k *b]"""
    x = op.dims("self")
    place = ties.place_of(op, x)
    ties.others(axes, x, op.output, place)
    ties.freeze(axes, (x[place], op.output[place], *op.dims("index")), BY_VALUE)


def index_add(op: Op, axes: Space) -> None:
    """index_add(x[*a n *b], dim, i[k], source[*a k *b]?) -> y[*a n *b]; index_copy and index_fill alike"""
    x, source = op.dims("self"), op.maybe("source")
    place = ties.place_of(op, x)
    ties.same(axes, x, op.output)
    ties.freeze(axes, (x[place], *op.dims("index")), BY_VALUE)
    if source:
        ties.others(axes, x, source, place)
        axes.freeze(source[place], BY_VALUE)


def gather(op: Op, axes: Space) -> None:
    """gather(x[*a n *b], dim, i[*a k *b]) -> y[*a k *b]"""
    _pointwise(op, axes, op.dims("index"))
    ties.same(axes, op.dims("index"), op.output)


def scatter(op: Op, axes: Space) -> None:
    """scatter(x[*a n *b], dim, i[*a k *b], src[*a k *b]?) -> y[*a n *b]"""
    tables: list[Dims] = [op.dims("index")]
    if src := op.maybe("src"):
        tables.append(src)
    _pointwise(op, axes, *tables)
    ties.same(axes, op.dims("self"), op.output)


def take_along_dim(op: Op, axes: Space) -> None:
    """take_along_dim(x[*a n *b], i[*a k *b], dim) -> y[*a k *b], broadcast outside of dim"""
    x, table, y = op.dims("self"), op.dims("indices"), op.output
    if op.value("dim") is None:
        ties.freeze_all(op, axes, BY_VALUE)
        return
    place = ties.place_of(op, x)
    for dims in (x, table):
        ties.broadcast(axes, ties.without(dims, place), ties.without(y, place))
    ties.freeze(axes, (dims[place] for dims in (x, table, y)), BY_VALUE)


def searchsorted(op: Op, axes: Space) -> None:
    """searchsorted(sorted[*b n], x[*b k], sorter[*b n]?) -> y[*b k]; with one sorted[n] for any x[*k]"""
    table, x, sorter = op.dims("sorted_sequence"), op.maybe("self") or (), op.maybe("sorter")
    ties.same(axes, x, op.output)
    if len(table) > 1:
        ties.same(axes, x[:-1], table[:-1])
    if sorter:
        ties.same(axes, sorter, table)
    axes.freeze(table[-1], BY_VALUE)


def bucketize(op: Op, axes: Space) -> None:
    """bucketize(x[*b], boundaries[n]) -> y[*b]; isin alike: found anywhere among the others"""
    x = op.maybe("self") or op.maybe("elements") or ()
    table = op.maybe("boundaries") or op.maybe("test_elements") or ()
    ties.same(axes, x, op.output)
    ties.freeze(axes, table, BY_VALUE)


def _picked(op: Op, axes: Space) -> Dims:
    """The dimensions of what an index picks: those left alone, and new ones for those looked up by value.

    The new ones stand where the first table stands, or in front where tables are not next to each other.
    """
    x, given = op.dims("self"), op.value("indices")
    places = [place for place, table in enumerate(given) if table is not None]
    assert not any(given[place].meta["val"].dtype in (torch.bool, torch.uint8) for place in places), (
        "a mask depends on values"
    )
    tables = [op.of(given[place]) or () for place in places]
    rank = max(map(len, tables), default=0)
    made = axes.atoms(
        max((axes.size(t[-k]) for t in tables if len(t) >= k), key=lambda n: n != 1)
        for k in range(rank, 0, -1)
    )
    for table in tables:
        ties.broadcast(axes, table, made)
    ties.freeze(axes, (*(x[place] for place in places), *made), BY_VALUE)
    together = all(after - before == 1 for before, after in pairwise(places))
    left, at = ties.without(x, *places), places[0] if places and together else 0
    return (*left[:at], *made, *left[at:])


def _pointwise(op: Op, axes: Space, *tables: Dims) -> None:
    """Ties x to tables that hold one index along `dim` an element; they may be smaller elsewhere."""
    x = op.dims("self")
    if not x:
        return
    place = ties.place_of(op, x)
    for table in tables:
        for at, (one, other) in enumerate(zip(x, table, strict=True)):
            if at != place and axes.size(one) == axes.size(other):
                axes.tie(one, other)
            else:
                ties.freeze(axes, (one, other), BY_VALUE)
