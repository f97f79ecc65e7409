"""Normalisations: elementwise in what they keep, applied to what is left in what they average over."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties
from penjing.network.rules.convolution import PIXELS


def batch_norm(op: Op, axes: Space) -> None:
    """batch_norm(x[b c *s], vectors[c]...) -> y[b c *s], statistics[c]...; instance_norm alike"""
    x, *vectors = op.inputs()
    ties.same(axes, x, op.output)
    for vector in vectors:
        axes.tie(vector[0], x[1])
    for statistic in ties.outputs(op)[1:]:
        if len(statistic) == 1 and axes.size(statistic[0]) == axes.size(x[1]):
            axes.tie(statistic[0], x[1])
    if op.name == "aten.instance_norm":
        ties.freeze(axes, x[2:], PIXELS)
    flags = ("training", "use_input_stats")
    op.normalises = any(op.arguments.get(flag) for flag in flags) or op.maybe("running_mean") is None


def layer_norm(op: Op, axes: Space) -> None:
    """layer_norm(x[*b *n], weight[*n]?, bias[*n]?) -> y[*b *n], statistics[*b 1..]...; rms_norm alike"""
    x, *affine = op.inputs()
    ties.same(axes, x, op.output)
    for dims in affine:
        ties.broadcast(axes, dims, x)
    lead = len(x) - len(op.value("normalized_shape"))
    op.resize("normalized_shape", list(x[lead:]))
    op.normalises = True
    for statistic in ties.outputs(op)[1:]:
        ties.same(axes, x[:lead], statistic[:lead])


def group_norm(op: Op, axes: Space) -> None:
    """group_norm(x[b g*c *s], weight[g*c]?, bias[g*c]?) -> y[b g*c *s], statistics[b g]..."""
    x, *affine = op.inputs()
    ties.same(axes, x, op.output)
    for dims in affine:
        axes.tie(dims[0], x[1])
    name = "num_groups" if "num_groups" in op.arguments else "group"
    groups, _ = axes.factor(x[1], (op.value(name), axes.size(x[1]) // op.value(name)))
    op.resize(name, groups)
    op.role(groups, "groups")
    op.normalises = True
    for statistic in ties.outputs(op)[1:]:
        ties.same(axes, statistic, (x[0], groups))
    if name == "group":  # the native form is also told the sizes that it could see
        op.resize("N", x[0])
        op.resize("C", x[1])
        op.resize("HxW", axes.product(*x[2:]))


def weight_norm(op: Op, axes: Space) -> None:
    """_weight_norm(v[*a o *b], g[1.. o 1..]) -> w[*a o *b], norm[1.. o 1..]?"""
    v, g = op.dims("v"), op.dims("g")
    ties.same(axes, v, op.output)
    for norm in [g, *ties.outputs(op)[1:]]:
        ties.broadcast(axes, norm, v)
    op.normalises = True


def norm_except_dim(op: Op, axes: Space) -> None:
    """norm_except_dim(v[*a o *b], pow, dim) -> norm[1.. o 1..]"""
    ties.broadcast(axes, op.output, op.dims("v"))
    op.normalises = True


def softmax(op: Op, axes: Space) -> None:
    """softmax(x[*a n *b], dim) -> y[*a n *b]"""
    ties.same(axes, op.inputs()[0], op.output)
    op.normalises = True
