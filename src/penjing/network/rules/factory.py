"""Constructors: tensors made from sizes."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties


def constructor(op: Op, axes: Space) -> None:
    """zeros(size), x.new_zeros(size), full(size, value) ...: every dimension is free, and stated"""
    del axes
    op.resize("size", list(op.output))


def counter(op: Op, axes: Space) -> None:
    """arange, linspace, eye ...: the values tell the position, so positions cannot be taken out"""
    for dims in ties.outputs(op):
        ties.freeze(axes, dims, "its values count its indices")
