"""The reverse reading: what a choice of kept atoms means for any dimension built from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, compress, repeat
from typing import TypeVar

from penjing.axes.space import Dim, Kind, Space

T = TypeVar("T")
Labels = tuple[int, ...]
Shared = dict[tuple[int, int, int], Labels]


def fold(
    space: Space,
    dim: Dim,
    atom: Callable[[Dim], T],
    product: Callable[[Sequence[T]], T],
    total: Callable[[Sequence[T]], T],
    memo: dict[Dim, T] | None = None,
) -> T:
    """Evaluate `dim` bottom up, without recursion; a class that occurs often is evaluated once.

    Args:
        space: where `dim` lives.
        dim: the expression.
        atom: value of an atom, given its representative.
        product: value of a product, given its factors' values, slowest first.
        total: value of a sum, given its terms' values, first to last.
        memo: values by representative, to be shared between calls with the same functions.
    """
    values = {} if memo is None else memo
    stack = [space.root(dim)]
    while stack:
        at = stack[-1]
        if at in values:
            stack.pop()
            continue
        kind = space.kind(at)
        if kind is Kind.ATOM:
            values[at] = atom(at)
            continue
        parts = space.parts(at)
        missing = [part for part in parts if part not in values]
        if missing:
            stack.extend(missing)
        else:
            values[at] = (product if kind is Kind.PRODUCT else total)([values[part] for part in parts])
    return values[space.root(dim)]


def leaves(space: Space, dim: Dim, memo: dict[Dim, tuple[Dim, ...]] | None = None) -> tuple[Dim, ...]:
    """The distinct atoms of `dim` (as representatives), in order of first occurrence.

    Args:
        space: where `dim` lives.
        dim: the expression.
        memo: atoms by representative, to be shared between calls while nothing is tied.
    """
    root = space.root(dim)
    if memo is not None and root in memo:
        return memo[root]
    found: dict[Dim, None] = {}
    seen: set[Dim] = set()
    stack = [root]
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        if space.kind(at) is Kind.ATOM:
            found[at] = None
        else:
            stack.extend(reversed(space.parts(at)))
    atoms = tuple(found)
    if memo is not None:
        memo[root] = atoms
    return atoms


def size_at(space: Space, dim: Dim, counts: Mapping[Dim, int], memo: dict[Dim, int] | None = None) -> int:
    """The size of `dim` when each atom named in `counts` (by representative) keeps that many indices."""
    return fold(space, dim, lambda at: counts.get(at, space.size(at)), math.prod, sum, memo)


def mask(
    space: Space, dim: Dim, kept: Mapping[Dim, Sequence[int]], memo: dict[Dim, bytes] | None = None
) -> bytes:
    """One byte per index of `dim`: 1 where it stays when the atoms keep `kept`; atoms not named keep all."""

    def atom(at: Dim) -> bytes:
        if at not in kept:
            return b"\1" * space.size(at)
        bits = bytearray(space.size(at))
        for index in kept[at]:
            bits[index] = 1
        return bytes(bits)

    def product(factors: Sequence[bytes]) -> bytes:
        result = factors[-1]
        for factor in reversed(factors[:-1]):
            gone = bytes(len(result))
            result = b"".join(result if bit else gone for bit in factor)
        return result

    return fold(space, dim, atom, product, b"".join, memo)


def indices(
    space: Space, dim: Dim, kept: Mapping[Dim, Sequence[int]], memo: dict[Dim, bytes] | None = None
) -> list[int]:
    """The indices of `dim` that stay when the atoms keep `kept` (by representative), in order."""
    return list(compress(range(space.size(dim)), mask(space, dim, kept, memo)))


def ways(space: Space, dim: Dim, memo: dict[Dim, dict[Dim, int]] | None = None) -> dict[Dim, int]:
    """In how many ways each atom takes part in `dim`: as many as `units` gives labels for it.

    Atoms come in order of first occurrence, as `leaves` gives them.
    """

    def added(parts: Sequence[dict[Dim, int]]) -> dict[Dim, int]:
        return {atom: sum(part.get(atom, 0) for part in parts) for part in parts for atom in part}

    def largest(parts: Sequence[dict[Dim, int]]) -> dict[Dim, int]:
        found: dict[Dim, int] = {}
        for part in parts:
            for atom, count in part.items():
                found[atom] = max(found.get(atom, 0), count)
        return found

    return fold(space, dim, lambda at: {at: 1}, added, largest, memo)


def units(space: Space, dim: Dim, atom: Dim, memo: Shared | None = None) -> list[Labels]:
    """Which index of `atom` each index of `dim` belongs to; -1 for none.

    Args:
        space: where `dim` lives.
        dim: the expression.
        atom: the atom.
        memo: labels by (size of the atom, repeats, width), so that equal ones exist once for many calls.

    Returns:
        One tuple of `size(dim)` entries for each way in which `atom` takes part: one as a rule, none where it
        does not occur, more where `dim` is a product that has it twice.
    """
    atom = space.root(atom)
    shared: Shared = {} if memo is None else memo
    values: dict[Dim, list[Labels]] = {}
    stack = [space.root(dim)]
    while stack:
        at = stack[-1]
        if at in values:
            stack.pop()
            continue
        kind, parts = space.kind(at), space.parts(at)
        missing = [part for part in parts if part not in values]
        if missing:
            stack.extend(missing)
        elif kind is Kind.ATOM:
            values[at] = [_labels(shared, space.size(at), 1, 1)] if at == atom else []
        elif kind is Kind.PRODUCT:
            values[at] = _units_of_product(space, parts, values, shared)
        else:
            values[at] = _units_of_sum(space, parts, values)
    return values[space.root(dim)]


def _units_of_product(
    space: Space, parts: Sequence[Dim], values: Mapping[Dim, list[Labels]], shared: Shared
) -> list[Labels]:
    found = []
    sizes = [space.size(part) for part in parts]
    for place, part in enumerate(parts):
        outer, inner = math.prod(sizes[:place]), math.prod(sizes[place + 1 :])
        for labels in values[part]:
            if labels is shared.get((sizes[place], 1, 1)):
                found.append(_labels(shared, sizes[place], outer, inner))
            else:
                found.append(_repeat(labels, outer, inner))
    return found


def _labels(shared: Shared, size: int, outer: int, inner: int) -> Labels:
    """Labels of an atom of `size` that is the middle one of three factors."""
    key = size, outer, inner
    if key not in shared:
        shared[key] = _repeat(range(size), outer, inner)
    return shared[key]


def _repeat(labels: Iterable[int], outer: int, inner: int) -> Labels:
    return tuple(labels if inner == 1 else chain.from_iterable(map(repeat, labels, repeat(inner)))) * outer


def _units_of_sum(space: Space, parts: Sequence[Dim], values: Mapping[Dim, list[Labels]]) -> list[Labels]:
    ways = max((len(values[part]) for part in parts), default=0)
    found = []
    for way in range(ways):
        labels: list[int] = []
        for part in parts:
            labels.extend(values[part][way] if way < len(values[part]) else (-1,) * space.size(part))
        found.append(tuple(labels))
    return found
