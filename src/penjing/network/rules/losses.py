"""Losses: what a prediction is apart from its target, element by element or over all that is left."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties
from penjing.network.rules.indexing import BY_VALUE


def elementwise(op: Op, axes: Space) -> None:
    """loss(x[*b], target[*b], ..., reduction) -> y[*b], or y for all"""
    whole: Dims = ()
    for dims in op.inputs():
        whole = ties.merged(axes, whole, dims)
    if op.value("reduction") == 0:
        ties.same(axes, whole, op.output)
    op.normalises = bool(op.value("reduction"))


def vectors(op: Op, axes: Space) -> None:
    """loss(x[*b k], y[*b k], z[*b k] or target[*b], ..., reduction) -> d[*b], or d for all"""
    x, y, other = op.inputs()
    whole = ties.merged(axes, x, y)
    if len(other) == len(whole):
        whole = ties.merged(axes, whole, other)
    else:
        ties.broadcast(axes, other, whole[:-1])
    if op.output:
        ties.same(axes, op.output, whole[:-1])
    op.normalises = True


def classes(op: Op, axes: Space) -> None:
    """cross_entropy(x[b c *s], target[b *s] or target[b c *s], weight[c]?, reduction) -> y[b *s], or y

    Or x[c] without a batch. Targets are classes, looked up by value, or, where they are no integers, shares
    of each.
    """
    x, target, *rest = op.inputs()
    place = 1 if len(x) > 1 else 0
    channel, lead = x[place], ties.without(x, place)
    for weight in rest:
        axes.tie(weight[0], channel)
    ties.same(axes, target, x if len(target) == len(x) else lead)
    if len(target) < len(x) or not op.arguments["target"].meta["val"].is_floating_point():
        axes.freeze(channel, BY_VALUE)
    if op.value("reduction") == 0:
        ties.same(axes, op.output, lead)
    op.normalises = True
