"""Operators that read or write indices of a dimension by value."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties

BY_VALUE = "its indices are looked up by value"


def index(op: Op, axes: Space) -> None:
    """index(x[*a n *b], [None.., i[*k], None..]) -> y[*a *k *b]; of a mask[*n] on x[*a *n *b], y[*a k *b]"""
    if covered := _covered(op, axes):
        x = op.dims("self")
        ties.same(axes, (*x[: covered.start], *x[covered.stop :]), ties.without(op.output, covered.start))
        ties.freeze(axes, (*x[covered], op.output[covered.start]), BY_VALUE)
        return
    picked, _ = _picked(op, axes)
    ties.same(axes, op.output, picked)


def index_put(op: Op, axes: Space) -> None:
    """index_put(x[*a n *b], [None.., i[*k], None..], values[*a *k *b]) -> x[*a n *b], values broadcast"""
    x, values = op.dims("self"), op.dims("values")
    ties.same(axes, x, op.output)
    if covered := _covered(op, axes):
        behind = x[covered.stop :]
        ties.broadcast(axes, values[len(values) - len(behind) :] if behind else (), behind)
        if len(values) > len(behind):  # one value for each place that the mask picks
            ties.freeze(axes, (*x[covered], *values[: len(values) - len(behind)]), BY_VALUE)
        return
    picked, made = _picked(op, axes)
    ties.broadcast(axes, values, picked)
    _write(op, axes, made, added=op.value("accumulate"))


def index_select(op: Op, axes: Space) -> None:
    """index_select(x[*a n *b], dim, i[k]) -> y[*a k *b]"""
    x = op.dims("self")
    place = ties.place_of(op, x)
    ties.others(axes, x, op.output, place)
    ties.same(axes, op.output[place : place + 1], op.dims("index"))
    axes.freeze(x[place], BY_VALUE)


def index_add(op: Op, axes: Space) -> None:
    """index_add(x[*a n *b], dim, i[k], source[*a k *b]?) -> y[*a n *b]; index_copy and index_fill alike"""
    x, source, table = op.dims("self"), op.maybe("source"), op.dims("index")
    place = ties.place_of(op, x)
    ties.same(axes, x, op.output)
    axes.freeze(x[place], BY_VALUE)
    if source:
        ties.others(axes, x, source, place)
        ties.same(axes, source[place : place + 1], table)
    _write(op, axes, table, added=op.name == "aten.index_add")


def gather(op: Op, axes: Space) -> None:
    """gather(x[*a n *b], dim, i[*a k *b]) -> y[*a k *b]; i may be smaller than x outside of dim"""
    x, table = op.dims("self"), op.dims("index")
    ties.same(axes, table, op.output)
    if not x:
        return
    place = ties.place_of(op, x)
    _lead(op, axes, ties.without(x, place), ties.without(table, place))
    axes.freeze(x[place], BY_VALUE)


def scatter(op: Op, axes: Space) -> None:
    """scatter(x[*a n *b], dim, i[*a k *b], src[*a k *b]?) -> y[*a n *b]; i may be smaller than the others"""
    x, table, source = op.dims("self"), op.dims("index"), op.maybe("src")
    place = ties.place_of(op, x)
    ties.same(axes, x, op.output)
    _lead(op, axes, ties.without(x, place), ties.without(table, place))
    _lead(op, axes, source or table, table)
    axes.freeze(x[place], BY_VALUE)
    added = op.name == "aten.scatter_add" or op.arguments.get("reduce") in ("sum", "add")
    _write(op, axes, (table[place],), added=added)


def take_along_dim(op: Op, axes: Space) -> None:
    """take_along_dim(x[*a n *b], i[*a k *b], dim) -> y[*a k *b], broadcast elsewhere; or of x laid flat"""
    x, table, y = op.dims("self"), op.dims("indices"), op.output
    if op.value("dim") is None:
        ties.freeze(axes, x, BY_VALUE)
        ties.same(axes, y, (axes.product(*table),))
        return
    place = ties.place_of(op, x)
    for dims in (x, table):
        ties.broadcast(axes, ties.without(dims, place), ties.without(y, place))
    axes.tie(table[place], y[place])
    axes.freeze(x[place], BY_VALUE)


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


def _covered(op: Op, axes: Space) -> slice | None:
    """Where the only index, a mask, lies upon x, to which it is tied; None if indices are numbers."""
    given = op.value("indices")
    places = [place for place, table in enumerate(given) if table is not None]
    masks = [given[place].meta["val"].dtype in (torch.bool, torch.uint8) for place in places]
    if not any(masks):
        return None
    assert len(masks) == 1, "a mask among other indices"
    mask = op.of(given[places[0]]) or ()
    covered = slice(places[0], places[0] + len(mask))
    ties.same(axes, op.dims("self")[covered], mask)
    return covered


def _picked(op: Op, axes: Space) -> tuple[Dims, Dims]:
    """The dimensions of what an index picks, and those among them that are not of x but of the tables.

    These stand where the first table stands, or in front where tables are not next to each other.
    """
    x, given = op.dims("self"), op.value("indices")
    places = [place for place, table in enumerate(given) if table is not None]
    made: Dims = ()
    for place in places:
        made = ties.merged(axes, made, op.of(given[place]) or ())
        axes.freeze(_reached(op, axes, x[place], given[place]), BY_VALUE)
    together = all(after - before == 1 for before, after in pairwise(places))
    left, at = ties.without(x, *places), places[0] if places and together else 0
    return (*left[:at], *made, *left[at:]), made


def _reached(op: Op, axes: Space, dim: Dim, table: Any) -> Dim:
    """The part of `dim` that a table must find as it was: up to its largest index, or from its smallest."""
    found, size = op.constant(table), axes.size(dim)
    if found is None or not found.numel():
        return dim
    low, high = int(found.min()), int(found.max())
    if low >= 0:
        first, rest = axes.split(dim, (high + 1, size - high - 1))
    elif high < 0:
        rest, first = axes.split(dim, (size + low, -low))
    else:
        return dim
    op.rest(rest)
    return first


def _lead(op: Op, axes: Space, whole: Dims, part: Dims) -> None:
    """Ties `part` to where `whole` begins; what lies behind is left unread."""
    for one, other in zip(whole, part, strict=True):
        first, rest = axes.split(one, (axes.size(other), axes.size(one) - axes.size(other)))
        axes.tie(first, other)
        op.rest(rest)


def _write(op: Op, axes: Space, written: Dims, *, added: bool) -> None:
    """What is added may be left out: zeros add nothing. What replaces may not: something else would stay."""
    op.contracts = added
    if not added:
        ties.freeze(axes, written, "it replaces what it is written over")
