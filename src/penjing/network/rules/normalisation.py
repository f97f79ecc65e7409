"""Normalisations: elementwise in what they keep, applied to what is left in what they average over."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules.elementwise import tie_broadcast


def batch_norm(op: Op, axes: Space) -> None:
    """batch_norm(x[b c *s], vectors[c]...) -> y[b c *s]; instance_norm alike"""
    x, *vectors = op.inputs()
    tie_broadcast(axes, x, op.output)
    for vector in vectors:
        axes.tie(vector[0], x[1])
    _tie_saved(op, axes, x[1])


def layer_norm(op: Op, axes: Space) -> None:
    """layer_norm(x[*b *n], weight[*n]?, bias[*n]?) -> y[*b *n]; rms_norm alike"""
    x, *affine = op.inputs()
    tie_broadcast(axes, x, op.output)
    for dims in affine:
        tie_broadcast(axes, dims, x)
    normalised = x[len(x) - len(op.value("normalized_shape")) :]
    op.resize("normalized_shape", list(normalised))
    op.normalises = True
    for statistic in op.outputs[1:]:
        for before, after in zip(x, statistic or (), strict=False):
            if axes.size(after) != 1:
                axes.tie(before, after)


def group_norm(op: Op, axes: Space) -> None:
    """group_norm(x[b g*c *s], weight[g*c]?, bias[g*c]?) -> y[b g*c *s]"""
    x, *affine = op.inputs()
    tie_broadcast(axes, x, op.output)
    for dims in affine:
        axes.tie(dims[0], x[1])
    name = "num_groups" if "num_groups" in op.arguments else "group"
    groups, _ = axes.factor(x[1], (op.value(name), axes.size(x[1]) // op.value(name)))
    op.resize(name, groups)
    op.role(groups, "groups")
    op.normalises = True
    for statistic in op.outputs[1:]:
        for dim in statistic or ():
            axes.freeze(dim, "a statistic of group normalisation")
    if name == "group":  # the native form is also told the sizes that it could see
        op.resize("N", x[0])
        op.resize("C", x[1])


def weight_norm(op: Op, axes: Space) -> None:
    """_weight_norm(v[*a o *b], g[1.. o 1..]) -> w[*a o *b]"""
    v, g = op.dims("v"), op.dims("g")
    tie_broadcast(axes, v, op.output)
    tie_broadcast(axes, g, v)
    op.normalises = True
    for norm in op.outputs[1:]:
        tie_broadcast(axes, norm or (), v)


def softmax(op: Op, axes: Space) -> None:
    """softmax(x[*a n *b], dim) -> y[*a n *b]"""
    tie_broadcast(axes, op.inputs()[0], op.output)
    op.normalises = True


def _tie_saved(op: Op, axes: Space, channel: Dim) -> None:
    """The native forms also return statistics, one per channel (or none)."""
    saved: list[Dims | None] = op.outputs[1:]
    for statistic in saved:
        for dim in statistic or ():
            if axes.size(dim) == axes.size(channel):
                axes.tie(dim, channel)
