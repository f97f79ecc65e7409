"""Operators that only rename positions: reshapes, permutations, expansions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties


def view(op: Op, axes: Space) -> None:
    """view(x[*a], size) -> y[*b]: factors are regrouped, in order"""
    x, y = op.inputs()[0], op.output
    if "dtype" in op.arguments:
        _view_type(axes, x, y)
        return
    regroup(axes, x, y)
    _state(op, "size" if "size" in op.arguments else "shape", y)


def view_as(op: Op, axes: Space) -> None:
    """view_as(x[*a], other[*b]) -> y[*b]"""
    regroup(axes, op.dims("self"), op.output)
    ties.same(axes, op.dims("other"), op.output)


def flatten(op: Op, axes: Space) -> None:
    """flatten(x[*a *m *b]) -> y[*a prod(m) *b]; unsqueeze and atleast_2d alike: nothing states a size"""
    regroup(axes, op.inputs()[0], op.output)


def squeeze(op: Op, axes: Space) -> None:
    """squeeze(x[*a 1 *b]) -> y[*a *b]: what has one index now goes, not what may come to have one"""
    x = op.dims("self")
    regroup(axes, x, op.output)
    named = ties.places_of(op.arguments.get("dim"), len(x))
    gone = [place for place in named if axes.size(x[place]) == 1]
    if gone != named:
        op.restate(torch.ops.aten.squeeze.dims, gone)


def unflatten(op: Op, axes: Space) -> None:
    """unflatten(x[*a n *b], dim, sizes) -> y[*a *sizes *b]"""
    x, y, sizes = op.inputs()[0], op.output, op.value("sizes")
    place = ties.place_of(op, x)
    regroup(axes, x, y)
    _state(op, "sizes", y[place : place + len(sizes)])


def permute(op: Op, axes: Space) -> None:
    """permute(x[*a], dims) -> y[a[dims[0]], a[dims[1]], ...]"""
    x = op.inputs()[0]
    for place, dim in zip(op.value("dims"), op.output, strict=True):
        axes.tie(x[place % len(x)], dim)


def transpose(op: Op, axes: Space) -> None:
    """transpose(x[.. i .. j ..], dim0, dim1) -> y[.. j .. i ..]; t() swaps the two there are"""
    order = list(op.inputs()[0])
    if len(order) > 1:
        first, second = (op.arguments.get(f"dim{n}", op.arguments.get(f"axis{n}", n)) for n in (0, 1))
        order[first], order[second] = order[second], order[first]
    ties.same(axes, order, op.output)


def reverse_dims(op: Op, axes: Space) -> None:
    """numpy_T(x[a b c]) -> y[c b a]; mT and adjoint swap the last two only"""
    x = list(op.inputs()[0])
    swapped = x[::-1] if op.name.endswith("numpy_T") else [*x[:-2], x[-1], x[-2]]
    ties.same(axes, swapped, op.output)


def movedim(op: Op, axes: Space) -> None:
    """movedim(x, source, destination): the named dimensions move, the others keep their order"""
    x = op.inputs()[0]
    source, target = (ties.places_of(op.value(name), len(x)) for name in ("source", "destination"))
    order: list[Dim | None] = [None] * len(x)
    for before, after in zip(source, target, strict=True):
        order[after] = x[before]
    others = iter(dim for place, dim in enumerate(x) if place not in source)
    ties.same(axes, [next(others) if dim is None else dim for dim in order], op.output)


def expand(op: Op, axes: Space) -> None:
    """expand(x[*a], size) -> y[*b]: dimensions of size 1 are stretched, others stay"""
    ties.broadcast(axes, op.inputs()[0], op.output)
    _state(op, "size" if "size" in op.arguments else "shape", op.output)


def expand_as(op: Op, axes: Space) -> None:
    """expand_as(x[*a], other[*b]) -> y[*b]"""
    ties.broadcast(axes, op.dims("self"), op.output)
    ties.same(axes, op.dims("other"), op.output)


def repeat(op: Op, axes: Space) -> None:
    """repeat(x[*a], repeats) -> y[repeats * a]: copies follow each other; tile alike"""
    x, y = op.inputs()[0], op.output
    name = "repeats" if "repeats" in op.arguments else "dims"
    stated = op.value(name)
    missing = len(y) - len(x)
    times: list[Dim | None] = []
    for place, whole in enumerate(y):
        size = axes.size(x[place - missing]) if place >= missing else 1
        copies = axes.atom(axes.size(whole) // size if size else 1)
        axes.tie(whole, axes.product(copies, x[place - missing]) if size > 1 else copies)
        times.append(copies)
    op.resize(name, times[len(times) - len(stated) :])


def repeat_interleave(op: Op, axes: Space) -> None:
    """repeat_interleave(x[*a n *b], r, dim) -> y[*a n*r *b]: copies side by side; or of x laid flat"""
    x, times = op.dims("self"), op.value("repeats")
    flat = x if op.value("dim") is not None else (axes.product(*x),)
    place = ties.place_of(op, flat) if op.value("dim") is not None else 0
    ties.others(axes, flat, op.output, place)
    if not isinstance(times, int):
        ties.freeze(
            axes, (flat[place], op.output[place], *op.dims("repeats")), "its indices are repeated by value"
        )
        return
    copies = axes.atom(times)
    axes.tie(op.output[place], axes.product(flat[place], copies))
    op.resize("repeats", copies)
    if op.value("output_size") is not None:
        op.resize("output_size", op.output[place])


def meshgrid(op: Op, axes: Space) -> None:
    """meshgrid(x[n], y[m], ...) -> each [n m ...] (or [m n ...] with indexing="xy")"""
    vectors = [dims[0] if dims else axes.atom(1) for dims in op.many("tensors")]
    if op.arguments.get("indexing") == "xy" and len(vectors) > 1:
        vectors[0], vectors[1] = vectors[1], vectors[0]
    for output in op.outputs:
        ties.same(axes, vectors, output or ())


def regroup(axes: Space, before: Dims, after: Dims) -> None:
    """Ties each shortest run of dimensions of `before` to the run of `after` that has as many elements."""
    lefts, rights = list(before), list(after)
    while lefts and rights:
        left, right = [lefts.pop(0)], [rights.pop(0)]
        many, other = axes.size(left[0]), axes.size(right[0])
        while many != other:
            if many < other:
                left.append(lefts.pop(0))
                many *= axes.size(left[-1])
            else:
                right.append(rights.pop(0))
                other *= axes.size(right[-1])
        axes.tie(axes.product(*left), axes.product(*right))


def _view_type(axes: Space, x: Dims, y: Dims) -> None:
    """The same bytes as another type: a wider or narrower one takes them from the last dimension."""
    ties.same(axes, x[:-1], y[:-1])
    for one, other in zip(x[-1:], y[-1:], strict=True):
        if axes.size(one) == axes.size(other):
            axes.tie(one, other)
        else:
            ties.freeze(axes, (one, other), "bytes of an element are not units")


def _state(op: Op, name: str, dims: Sequence[Dim]) -> None:
    """Declares that an argument states the sizes of `dims`, but for one left to be worked out."""
    op.resize(name, [None if given == -1 else dim for given, dim in zip(op.value(name), dims, strict=True)])
