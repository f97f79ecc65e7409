"""Distances and angles between vectors along an axis that both share."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties


def cdist(op: Op, axes: Space) -> None:
    """cdist(x[*b n k], y[*b m k]) -> d[*b n m]"""
    x, y = op.dims("x1"), op.dims("x2")
    axes.tie(x[-1], y[-1])
    ties.same(axes, op.output[-2:], (x[-2], y[-2]))
    ties.broadcast(axes, x[:-2], op.output[:-2])
    ties.broadcast(axes, y[:-2], op.output[:-2])
    op.contracts = True


def pdist(op: Op, axes: Space) -> None:
    """pdist(x[n k]) -> d[n*(n-1)/2]: every pair of rows"""
    n, _ = op.dims("self")
    ties.freeze(axes, (n, *op.output), "its indices are paired with each other")
    op.contracts = True


def cosine_similarity(op: Op, axes: Space) -> None:
    """cosine_similarity(x[*a k *b], y[*a k *b], dim) -> z[*a *b], broadcast; linalg_vecdot alike"""
    x, y = op.inputs()
    whole = ties.merged(axes, x, y)
    place = ties.place_of(op, whole)
    ties.broadcast(axes, ties.without(whole, place), op.output)
    op.contracts = True


def pairwise_distance(op: Op, axes: Space) -> None:
    """pairwise_distance(x[*b k], y[*b k], eps) -> d[*b]: eps is added to every difference that is left"""
    x, y = op.inputs()
    whole = ties.merged(axes, x, y)
    ties.broadcast(axes, whole[:-1], op.output[:-1] if op.value("keepdim") else op.output)
    op.normalises = True


def dist(op: Op, axes: Space) -> None:
    """dist(x[*b], y[*b]) -> d: over all that is left"""
    x, y = op.inputs()
    ties.merged(axes, x, y)
    op.normalises = True
