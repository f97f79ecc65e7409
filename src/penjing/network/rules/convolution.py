"""Convolutions of any number of spatial dimensions, grouped, depthwise, transposed."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op

PIXELS = "positions in space are not units"
TAPS = "kernel taps are not units"


def convolution(op: Op, axes: Space) -> None:
    """conv(x[b? g*i *s], w[g*o i *k], bias[g*o]?) -> y[b? g*o *s']"""
    _convolve(op, axes, transposed=bool(op.arguments.get("transposed", False)))


def transposed_convolution(op: Op, axes: Space) -> None:
    """conv_transpose(x[b? g*i *s], w[g*i o *k], bias[g*o]?) -> y[b? g*o *s']"""
    _convolve(op, axes, transposed=True)


def _convolve(op: Op, axes: Space, *, transposed: bool) -> None:
    x, w, y, bias = op.dims("input"), op.dims("weight"), op.output, op.maybe("bias")
    channel = len(x) - len(w) + 1
    count = op.value("groups")
    if count == 1:
        into, out = (w[0], w[1]) if transposed else (w[1], w[0])
    else:
        groups = axes.atom(count)
        shared, per_group = w[1], axes.atom(axes.size(w[0]) // count)
        axes.tie(w[0], axes.product(groups, per_group))
        joined = axes.product(groups, shared)
        into, out = (w[0], joined) if transposed else (joined, w[0])
        op.resize("groups", groups)
        op.role(groups, "groups")
    axes.tie(x[channel], into)
    axes.tie(y[channel], out)
    if bias:
        axes.tie(bias[0], out)
    for before, after in zip(x[:channel], y[:channel], strict=True):
        axes.tie(before, after)
    for dim in (*x[channel + 1 :], *y[channel + 1 :]):
        axes.freeze(dim, PIXELS)
    for dim in w[2:]:
        axes.freeze(dim, TAPS)
    op.contracts = True
