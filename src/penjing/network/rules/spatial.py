"""Operators over positions in space: pooling, resampling, padding, shuffles between channels and space."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules.convolution import PIXELS, TAPS
from penjing.network.rules.elementwise import tie_broadcast


def pool(rank: int) -> object:
    """A rule for pooling or resampling over the last `rank` dimensions: pool(x[*b *s]) -> y[*b *s']"""

    def rule(op: Op, axes: Space) -> None:
        x = op.inputs()[0]
        for output in op.outputs:
            if output is not None:
                _pass_leading(axes, x, output, rank)

    return rule


def grid_sample(op: Op, axes: Space) -> None:
    """grid_sampler(x[b c *s], grid[b *s' r]) -> y[b c *s']"""
    x, grid = op.inputs()
    axes.tie(x[0], op.output[0])
    axes.tie(x[1], op.output[1])
    axes.tie(grid[0], x[0])
    for dim in (*x[2:], *grid[1:], *op.output[2:]):
        axes.freeze(dim, PIXELS)


def pad(op: Op, axes: Space) -> None:
    """pad(x[*a n], pads) -> y[*a lo+n+hi]: pads are given in pairs from the last dimension on"""
    x, y, pads = op.dims("self"), op.output, op.value("pad" if "pad" in op.arguments else "padding")
    constant = op.arguments.get("mode", "constant") == "constant" and "reflection" not in op.name
    sizes: list[Dim | None] = []
    for pair in range(len(pads) // 2):
        before, after = x[len(x) - 1 - pair], y[len(y) - 1 - pair]
        low, high = pads[2 * pair], pads[2 * pair + 1]
        if low == high == 0:
            axes.tie(before, after)
            sizes += [None, None]
        elif not constant:
            axes.freeze(before, "padded with values of its own")
            axes.freeze(after, "padded with values of its own")
            sizes += [None, None]
        else:
            sizes += _pad_one(op, axes, before, after, low, high)
    rest = len(x) - len(pads) // 2
    for before, after in zip(x[:rest], y[:rest], strict=True):
        axes.tie(before, after)
    if constant and any(size is not None for size in sizes):
        op.resize("pad" if "pad" in op.arguments else "padding", sizes)


def pad_edges(op: Op, axes: Space) -> None:
    """reflection_pad and replication_pad of the last dimensions: those are frozen, the others pass"""
    x = op.dims("self")
    _pass_leading(axes, x, op.output, len(op.value("padding")) // 2)


def pixel_shuffle(op: Op, axes: Space) -> None:
    """pixel_shuffle(x[*b c*r*r h w], r) -> y[*b c h*r w*r]"""
    x, r = op.dims("self"), op.value("upscale_factor")
    _shuffle(axes, x, op.output, r)


def pixel_unshuffle(op: Op, axes: Space) -> None:
    """pixel_unshuffle(x[*b c h*r w*r], r) -> y[*b c*r*r h w]"""
    _shuffle(axes, op.output, op.dims("self"), op.value("downscale_factor"))


def channel_shuffle(op: Op, axes: Space) -> None:
    """channel_shuffle(x[b g*c *s], g) -> y[b c*g *s]"""
    x, g = op.dims("self"), op.value("groups")
    groups, inner = axes.factor(x[1], (g, axes.size(x[1]) // g))
    axes.tie(op.output[1], axes.product(inner, groups))
    for before, after in zip((x[0], *x[2:]), (op.output[0], *op.output[2:]), strict=True):
        axes.tie(before, after)
    op.resize("groups", groups)


def im2col(op: Op, axes: Space) -> None:
    """im2col(x[b? c h w], kernel) -> y[b? c*k positions]"""
    _columns(axes, op.dims("self"), op.output)


def col2im(op: Op, axes: Space) -> None:
    """col2im(x[b? c*k positions]) -> y[b? c h w]"""
    _columns(axes, op.output, op.dims("self"))


def unfold(op: Op, axes: Space) -> None:
    """unfold(x[*a n *b], dimension, size, step) -> y[*a windows *b size]"""
    x, place = op.dims("self"), op.value("dimension") % len(op.dims("self"))
    for at, (before, after) in enumerate(zip(x, op.output[:-1], strict=True)):
        if at == place:
            axes.freeze(before, "read in windows")
            axes.freeze(after, "read in windows")
        else:
            axes.tie(before, after)
    axes.freeze(op.output[-1], TAPS)


def _pad_one(op: Op, axes: Space, before: Dim, after: Dim, low: int, high: int) -> list[Dim | None]:
    if low < 0 or high < 0:
        axes.freeze(before, "cropped by negative padding")
        axes.freeze(after, "cropped by negative padding")
        return [None, None]
    first, last = axes.atom(low), axes.atom(high)
    axes.tie(after, axes.sum(first, before, last))
    for added in (first, last):
        op.follow(added, before)
    return [first if low else None, last if high else None]


def _pass_leading(axes: Space, x: Dims, y: Dims, rank: int) -> None:
    tie_broadcast(axes, x[: len(x) - rank], y[: len(y) - rank])
    for dim in (*x[len(x) - rank :], *y[len(y) - rank :]):
        axes.freeze(dim, PIXELS)


def _shuffle(axes: Space, deep: Dims, wide: Dims, r: int) -> None:
    """Channels r*r deeper on one side, pixels r times finer in both directions on the other."""
    channels, *steps = axes.factor(deep[-3], (axes.size(wide[-3]), r, r))
    axes.tie(channels, wide[-3])
    for dim in (*steps, *deep[-2:], *wide[-2:]):
        axes.freeze(dim, PIXELS)
    for before, after in zip(deep[:-3], wide[:-3], strict=True):
        axes.tie(before, after)


def _columns(axes: Space, image: Dims, columns: Dims) -> None:
    channel = len(image) - 3
    channels, taps = axes.factor(columns[-2], (axes.size(image[channel]), axes.size(columns[-2]) // axes.size(image[channel])))
    axes.tie(channels, image[channel])
    axes.freeze(taps, TAPS)
    for dim in (*image[channel + 1 :], columns[-1]):
        axes.freeze(dim, PIXELS)
    if channel:
        axes.tie(image[0], columns[0])
