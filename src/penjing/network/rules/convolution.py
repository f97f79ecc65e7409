"""Convolutions of any number of spatial dimensions, grouped, depthwise, transposed."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties

PIXELS = "positions in space are not units"
TAPS = "kernel taps are not units"


def convolution(op: Op, axes: Space) -> None:
    """conv(x[b? g*i *s], w[g*o i *k], bias[g*o]?) -> y[b? g*o *s']"""
    _convolve(op, axes, transposed=bool(op.arguments.get("transposed", False)))


def transposed_convolution(op: Op, axes: Space) -> None:
    """conv_transpose(x[b? g*i *s], w[g*i o *k], bias[g*o]?) -> y[b? g*o *s']"""
    _convolve(op, axes, transposed=True)


def time_batch_channel(op: Op, axes: Space) -> None:
    """conv_tbc(x[s b i], w[k i o], bias[o]) -> y[s' b o]"""
    x, w, (bias,), y = op.dims("self"), op.dims("weight"), op.dims("bias"), op.output
    ties.same(axes, (x[1], x[2], w[2], w[2]), (y[1], w[1], y[2], bias))
    ties.freeze(axes, (x[0], y[0]), PIXELS)
    axes.freeze(w[0], TAPS)
    op.contracts = True


def _convolve(op: Op, axes: Space, *, transposed: bool) -> None:
    x, w, y, bias = op.dims("input"), op.dims("weight"), op.output, op.maybe("bias")
    channel = len(x) - len(w) + 1
    count = op.value("groups")
    if count == 1:
        into, out = (w[0], w[1]) if transposed else (w[1], w[0])
    else:
        groups, _ = axes.factor(w[0], (count, axes.size(w[0]) // count))
        joined = axes.product(groups, w[1])
        into, out = (w[0], joined) if transposed else (joined, w[0])
        op.resize("groups", groups)
        op.role(groups, "groups")
    axes.tie(x[channel], into)
    axes.tie(y[channel], out)
    if bias:
        axes.tie(bias[0], out)
    ties.same(axes, x[:channel], y[:channel])
    ties.freeze(axes, (*x[channel + 1 :], *y[channel + 1 :]), PIXELS)
    ties.freeze(axes, w[2:], TAPS)
    op.contracts = True
