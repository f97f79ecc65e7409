"""How rules tie tuples of dimensions: pairwise, aligned from the last, all but some; and what they freeze."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op


def same(axes: Space, left: Sequence[Dim], right: Sequence[Dim]) -> None:
    """Ties two equally long sequences one by one."""
    for one, other in zip(left, right, strict=True):
        axes.tie(one, other)


def broadcast(axes: Space, dims: Sequence[Dim], output: Sequence[Dim]) -> None:
    """Ties `dims` to `output` from the last dimension on; size 1 is stretched and says nothing."""
    for before, after in zip(reversed(dims), reversed(output), strict=False):
        if axes.size(before) != 1 or axes.size(after) == 1:
            axes.tie(before, after)


def merged(axes: Space, left: Dims, right: Dims) -> Dims:
    """The dimensions of two tensors broadcast over each other: of each pair the one that is not stretched."""
    short, long = sorted((left, right), key=len)
    lead = len(long) - len(short)
    found = list(long[:lead])
    for one, other in zip(short, long[lead:], strict=True):
        if axes.size(one) != 1 and axes.size(other) != 1:
            axes.tie(one, other)
        found.append(other if axes.size(one) == 1 else one)
    return tuple(found)


def others(axes: Space, left: Sequence[Dim], right: Sequence[Dim], *places: int) -> None:
    """Ties two equally long sequences one by one, but not at `places`."""
    for at, (one, other) in enumerate(zip(left, right, strict=True)):
        if at not in places:
            axes.tie(one, other)


def freeze(axes: Space, dims: Iterable[Dim], reason: str) -> None:
    """Freezes every one of `dims`."""
    for dim in dims:
        axes.freeze(dim, reason)


def freeze_all(op: Op, axes: Space, reason: str) -> None:
    """Freezes every dimension that the operator reads or makes."""
    for dims in [*op.inputs(), *outputs(op)]:
        freeze(axes, dims, reason)


def without(dims: Dims, *places: int) -> Dims:
    """`dims` but those at `places`."""
    return tuple(dim for at, dim in enumerate(dims) if at not in places)


def place_of(op: Op, dims: Sequence[Dim], name: str = "dim") -> int:
    """Which of `dims` the integer argument `name` means; a negative one counts from the end."""
    assert dims, "a scalar has no dimensions"
    return int(op.value(name)) % len(dims)


def places_of(value: int | Sequence[int] | None, rank: int) -> list[int]:
    """Which dimensions an argument means that names one or several; None or no number names all."""
    named = [value] if isinstance(value, int) else list(value or ())
    return [place % rank for place in named] if named and rank else list(range(rank))


def outputs(op: Op) -> list[Dims]:
    """The dimensions of every output that is a tensor."""
    return [dims for dims in op.outputs if dims is not None]


def used(op: Op, output: int) -> bool:
    """Whether anything reads output number `output` of several."""
    readers = (user for user in op.node.users if len(user.args) < 2 or user.args[1] == output)
    return any(reader.users or reader.op == "output" for reader in readers)
