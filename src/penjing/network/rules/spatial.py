"""Operators over positions in space: pooling, resampling, padding."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op, Rule
from penjing.network.rules import ties
from penjing.network.rules.convolution import PIXELS


def pool(rank: int) -> Rule:
    """A rule for pooling or resampling the last `rank` dimensions."""

    def rule(op: Op, axes: Space) -> None:
        """pool(x[*b *s], where[*b *s]?) -> y[*b *s'], ...: pools, or resamples, the last dimensions"""
        x, *more = op.inputs()
        for dims in (*more, *ties.outputs(op)):
            _pass_leading(axes, x, dims, rank)

    return rule


def fractional_pool(rank: int) -> Rule:
    """A rule for fractional pooling of the last `rank` dimensions."""

    def rule(op: Op, axes: Space) -> None:
        """pool(x[b? c *s], samples[b c n]) -> y[b? c *s'], where[b? c *s']"""
        x, samples = op.dims("self"), op.dims("random_samples")
        ties.same(axes, samples[:-1], x[:-rank] if len(x) == rank + 2 else (axes.atom(1), *x[:-rank]))
        axes.freeze(samples[-1], PIXELS)
        for output in ties.outputs(op):
            _pass_leading(axes, x, output, rank)

    return rule


def grid_sample(op: Op, axes: Space) -> None:
    """grid_sampler(x[b c *s], grid[b *s' r]) -> y[b c *s']"""
    x, grid = op.inputs()
    ties.same(axes, x[:2], op.output[:2])
    axes.tie(grid[0], x[0])
    ties.freeze(axes, (*x[2:], *grid[1:], *op.output[2:]), PIXELS)


def affine_grid(op: Op, axes: Space) -> None:
    """affine_grid_generator(theta[b r r+1], size) -> grid[b *s r]"""
    theta, grid, stated = op.dims("theta"), op.output, op.value("size")
    axes.tie(theta[0], grid[0])
    ties.freeze(axes, (*theta[1:], *grid[1:]), PIXELS)
    op.resize("size", [grid[0], *[None] * (len(stated) - 1)])


def pad(op: Op, axes: Space) -> None:
    """pad(x[*a n], pads) -> y[*a lo+n+hi]: pads are given in pairs from the last dimension on"""
    name = "pad" if "pad" in op.arguments else "padding"
    x, y, pads = op.dims("self"), op.output, op.value(name)
    constant = op.arguments.get("mode", "constant") == "constant"
    sizes: list[Dim | None] = []
    for pair in range(len(pads) // 2):
        before, after, (low, high) = x[-1 - pair], y[-1 - pair], pads[2 * pair : 2 * pair + 2]
        if constant and min(low, high) >= 0:
            sizes += _pad_one(op, axes, before, after, low, high)
        elif low == high == 0:
            axes.tie(before, after)
            sizes += [None, None]
        else:
            ties.freeze(
                axes,
                (before, after),
                "padded with values of its own" if constant is False else "cropped by padding",
            )
            sizes += [None, None]
    rest = len(x) - len(pads) // 2
    ties.same(axes, x[:rest], y[:rest])
    op.resize(name, sizes)


def pad_edges(op: Op, axes: Space) -> None:
    """reflection_pad and replication_pad of the last dimensions: x[*b *s] -> y[*b *s']"""
    name = "padding" if "padding" in op.arguments else "pad"
    _pass_leading(axes, op.dims("self"), op.output, len(op.value(name)) // 2)


def _pad_one(op: Op, axes: Space, before: Dim, after: Dim, low: int, high: int) -> list[Dim | None]:
    first, last = axes.atom(low), axes.atom(high)
    axes.tie(after, axes.sum(first, before, last))
    for added in (first, last):
        op.follow(added, before)
    return [first if low else None, last if high else None]


def _pass_leading(axes: Space, x: Dims, y: Dims, rank: int) -> None:
    ties.same(axes, x[:-rank], y[:-rank])
    ties.freeze(axes, (*x[-rank:], *y[-rank:]), PIXELS)
