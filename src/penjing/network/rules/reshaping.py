"""Operators that only rename positions: reshapes, permutations, expansions."""

from __future__ import annotations

from collections.abc import Sequence

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules.elementwise import tie_broadcast


def view(op: Op, axes: Space) -> None:
    """view(x[*a], size) -> y[*b]: factors are regrouped, in order"""
    regroup(axes, op.inputs()[0], op.output)
    for name in ("size", "shape"):
        if name in op.arguments:
            stated = op.value(name)
            op.resize(name, [dim if given != -1 else None for given, dim in zip(stated, op.output, strict=True)])


def flatten(op: Op, axes: Space) -> None:
    """flatten(x[*a *m *b]) -> y[*a prod(m) *b]; squeeze and unsqueeze alike: nothing states a size"""
    regroup(axes, op.inputs()[0], op.output)


def unflatten(op: Op, axes: Space) -> None:
    """unflatten(x[*a n *b], dim, sizes) -> y[*a *sizes *b]"""
    x, y, sizes = op.inputs()[0], op.output, op.value("sizes")
    place = op.value("dim") % len(x)
    regroup(axes, x, y)
    made = y[place : place + len(sizes)]
    op.resize("sizes", [dim if given != -1 else None for given, dim in zip(sizes, made, strict=True)])


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
    _same(axes, order, op.output)


def reverse_dims(op: Op, axes: Space) -> None:
    """numpy_T(x[a b c]) -> y[c b a]; mT and adjoint swap the last two only"""
    x = list(op.inputs()[0])
    swapped = x[::-1] if op.name.endswith("numpy_T") else [*x[:-2], x[-1], x[-2]]
    _same(axes, swapped, op.output)


def movedim(op: Op, axes: Space) -> None:
    """movedim(x, source, destination): the named dimensions move, the others keep their order"""
    x = op.inputs()[0]
    source, target = (_places(op.value(name), len(x)) for name in ("source", "destination"))
    order: list[Dim | None] = [None] * len(x)
    for before, after in zip(source, target, strict=True):
        order[after] = x[before]
    others = iter(dim for place, dim in enumerate(x) if place not in source)
    _same(axes, [next(others) if dim is None else dim for dim in order], op.output)


def expand(op: Op, axes: Space) -> None:
    """expand(x[*a], size) -> y[*b]: dimensions of size 1 are stretched, others stay"""
    tie_broadcast(axes, op.inputs()[0], op.output)
    name = "size" if "size" in op.arguments else "shape"
    if name in op.arguments:
        stated = op.value(name)
        op.resize(name, [dim if given != -1 else None for given, dim in zip(stated, op.output, strict=True)])


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
    """repeat_interleave(x[*a n *b], r, dim) -> y[*a n*r *b]: copies stand side by side"""
    x, times = op.dims("self"), op.value("repeats")
    assert isinstance(times, int), "repeats that are a tensor depend on values"
    if op.value("dim") is None:
        merged = axes.product(*x)
        copies = axes.atom(times)
        axes.tie(op.output[0], axes.product(merged, copies))
        op.resize("repeats", copies)
        return
    place = op.value("dim") % len(x)
    copies = axes.atom(times)
    for at, (before, after) in enumerate(zip(x, op.output, strict=True)):
        axes.tie(axes.product(before, copies) if at == place else before, after)
    op.resize("repeats", copies)


def meshgrid(op: Op, axes: Space) -> None:
    """meshgrid(x[n], y[m], ...) -> each [n m ...] (or [m n ...] with indexing="xy")"""
    vectors = [dims[0] if dims else axes.atom(1) for dims in op.many("tensors")]
    if op.arguments.get("indexing") == "xy" and len(vectors) > 1:
        vectors[0], vectors[1] = vectors[1], vectors[0]
    for output in op.outputs:
        _same(axes, vectors, output or ())


def regroup(axes: Space, before: Dims, after: Dims) -> None:
    """Ties each shortest run of dimensions of `before` to the run of `after` with the same number of elements."""
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


def _places(value: int | Sequence[int], rank: int) -> list[int]:
    return [place % rank for place in ([value] if isinstance(value, int) else value)]


def _same(axes: Space, left: Sequence[Dim], right: Sequence[Dim]) -> None:
    for one, other in zip(left, right, strict=True):
        axes.tie(one, other)
