"""Refinement: how two composite dimensions of one size are laid over each other.

Each function returns the ties that follow between parts; new atoms are made where a part must be divided.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penjing.axes.space import Dim, Space

Pairs = list[tuple["Dim", "Dim"]]


def align_products(space: Space, left: Sequence[Dim], right: Sequence[Dim]) -> Pairs:
    """Lay two products over each other from the fastest end.

    Equal factors are tied; where one divides the other, the larger is divided. Where neither does, the common
    divisor of both is tied as the fastest digit and the rest, up to the next place where the running products
    meet, is frozen.
    """
    pairs: Pairs = []
    lefts, rights = list(left), list(right)
    while lefts and rights:
        a, b = lefts.pop(), rights.pop()
        common = math.gcd(space.size(a), space.size(b))
        if common == 1:
            _freeze_to_next_meeting(space, a, b, lefts, rights, pairs)
            continue
        pairs.append((_fastest(space, a, common, lefts, pairs), _fastest(space, b, common, rights, pairs)))
    return pairs


def align_sums(space: Space, left: Iterable[Dim], right: Iterable[Dim]) -> Pairs:
    """Lay two sums over each other from the start, cutting a term wherever a boundary of the other falls."""
    pairs: Pairs = []
    lefts, rights = deque(left), deque(right)
    while lefts and rights:
        a, b = lefts.popleft(), rights.popleft()
        common = min(space.size(a), space.size(b))
        pairs.append((_first(space, a, common, lefts, pairs), _first(space, b, common, rights, pairs)))
    return pairs


def cut_product(space: Space, factors: Sequence[Dim], terms: Sequence[Dim]) -> tuple[Pairs, bool]:
    """Lay a product over a sum: its slowest factor is cut at every boundary of the sum.

    Returns:
        The ties, and whether every boundary falls between two indices of the slowest factor. If so the
        product form says all; where a boundary falls inside one index, only the sum form does.
    """
    slow, *rest = factors
    width = math.prod(map(space.size, rest))
    bounds = list(accumulate(map(space.size, terms), initial=0))
    inside = [bound for bound in bounds if bound % width]
    cuts = sorted({bound // width for bound in bounds} | {bound // width + 1 for bound in inside})
    pieces = space.atoms(after - before for before, after in pairwise(cuts))
    pairs: Pairs = [(slow, space.sum(*pieces))] if len(pieces) > 1 else []
    if len(pieces) == 1:
        pieces = (slow,)
    segments = [space.product(piece, *rest) for piece in pieces]
    return pairs + align_sums(space, segments, terms), not inside


def _fastest(space: Space, dim: Dim, size: int, remaining: list[Dim], pairs: Pairs) -> Dim:
    """The fastest digit of `size` of `dim`; the slower one goes back onto `remaining`."""
    if space.size(dim) == size:
        return dim
    slow, fast = space.atoms((space.size(dim) // size, size))
    pairs.append((dim, space.product(slow, fast)))
    remaining.append(slow)
    return fast


def _first(space: Space, dim: Dim, size: int, remaining: deque[Dim], pairs: Pairs) -> Dim:
    """The first `size` indices of `dim`; the others go back onto `remaining`."""
    if space.size(dim) == size:
        return dim
    head, tail = space.atoms((size, space.size(dim) - size))
    pairs.append((dim, space.sum(head, tail)))
    remaining.appendleft(tail)
    return head


def _freeze_to_next_meeting(
    space: Space, a: Dim, b: Dim, lefts: list[Dim], rights: list[Dim], pairs: Pairs
) -> None:
    """Freeze `a`, `b` and slower factors until both running products are equal again."""
    shapes = f"{_shape(space, [*lefts, a])} over {_shape(space, [*rights, b])}"
    reason = f"a reshape lays {shapes}: the indices are no longer separable"
    left, right = space.size(a), space.size(b)
    frozen = [a, b]
    while left != right:
        shorter, running, other = (lefts, left, right) if left < right else (rights, right, left)
        dim = shorter.pop()
        wanted = math.lcm(running, other) // running
        digit = math.gcd(space.size(dim), wanted)
        if 1 < digit < space.size(dim):  # the products can meet inside this factor: what is slower stays free
            dim = _fastest(space, dim, digit, shorter, pairs)
        frozen.append(dim)
        if shorter is lefts:
            left = running * space.size(dim)
        else:
            right = running * space.size(dim)
    for dim in frozen:
        space.freeze(dim, reason)


def _shape(space: Space, dims: Sequence[Dim]) -> str:
    return "(" + ", ".join(str(space.size(dim)) for dim in dims) + ")"
