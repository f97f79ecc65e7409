"""Operators that round to the steps of a scale."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties


def per_channel(op: Op, axes: Space) -> None:
    """fake_quantize_per_channel_affine(x[*a n *b], scale[n], zero_point[n], axis) -> y[*a n *b]"""
    x = op.dims("self")
    place = ties.place_of(op, x, "axis")
    ties.same(axes, x, op.output)
    for name in ("scale", "zero_point"):
        axes.tie(op.dims(name)[0], x[place])
