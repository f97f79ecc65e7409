"""Operators that move elements between channels and space, or between channels."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties
from penjing.network.rules.convolution import PIXELS, TAPS


def pixel_shuffle(op: Op, axes: Space) -> None:
    """pixel_shuffle(x[*b c*r*r h w], r) -> y[*b c h*r w*r]"""
    _shuffle(axes, op.dims("self"), op.output, op.value("upscale_factor"))


def pixel_unshuffle(op: Op, axes: Space) -> None:
    """pixel_unshuffle(x[*b c h*r w*r], r) -> y[*b c*r*r h w]"""
    _shuffle(axes, op.output, op.dims("self"), op.value("downscale_factor"))


def channel_shuffle(op: Op, axes: Space) -> None:
    """channel_shuffle(x[b g*c *s], g) -> y[b c*g *s]"""
    x, g = op.dims("self"), op.value("groups")
    groups, inner = axes.factor(x[1], (g, axes.size(x[1]) // g))
    axes.tie(op.output[1], axes.product(inner, groups))
    ties.others(axes, x, op.output, 1)
    op.resize("groups", groups)
    op.role(groups, "groups")


def im2col(op: Op, axes: Space) -> None:
    """im2col(x[b? c h w], kernel) -> y[b? c*k positions]"""
    _columns(axes, op.dims("self"), op.output)


def col2im(op: Op, axes: Space) -> None:
    """col2im(x[b? c*k positions]) -> y[b? c h w]"""
    _columns(axes, op.output, op.dims("self"))


def unfold(op: Op, axes: Space) -> None:
    """unfold(x[*a n *b], dimension, size, step) -> y[*a windows *b size]"""
    x, y = op.dims("self"), op.output
    place = ties.place_of(op, x, "dimension")
    ties.others(axes, x, y[:-1], place)
    ties.freeze(axes, (x[place], y[place]), "read in windows")
    axes.freeze(y[-1], TAPS)


def _shuffle(axes: Space, deep: Dims, wide: Dims, r: int) -> None:
    """Channels r*r deeper on one side, pixels r times finer in both directions on the other."""
    channels, *steps = axes.factor(deep[-3], (axes.size(wide[-3]), r, r))
    axes.tie(channels, wide[-3])
    ties.freeze(axes, (*steps, *deep[-2:], *wide[-2:]), PIXELS)
    ties.same(axes, deep[:-3], wide[:-3])


def _columns(axes: Space, image: Dims, columns: Dims) -> None:
    channels, taps = axes.factor(
        columns[-2], (axes.size(image[-3]), axes.size(columns[-2]) // axes.size(image[-3]))
    )
    axes.tie(channels, image[-3])
    axes.freeze(taps, TAPS)
    ties.freeze(axes, (*image[-2:], columns[-1]), PIXELS)
    ties.same(axes, image[:-3], columns[:-2])
