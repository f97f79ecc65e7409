"""The arena of dimension expressions, and their unification with refinement.

Every dimension of every tensor is a `Dim`: an index into a `Space`. A dimension is

* an *atom*: one independent index set of a known size;
* a *product* of dimensions, slowest first: what a reshape merges (heads x head width);
* a *sum* of dimensions, first to last: what a concatenation joins and a split cuts apart.

`Space.tie` says that two dimensions are one index set. Ties are solved at once, by a worklist (no recursion,
so depth of the network does not matter) over union-find classes: an atom becomes what it meets, products
align their factors from the fastest end, sums align their boundaries, a product that meets a sum has its
slowest factor cut at the boundaries. What cannot be aligned is frozen, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum

from penjing.axes.align import align_products, align_sums, cut_product

Dim = int
"""A dimension: an index into the arena of one `Space`."""


class Kind(Enum):
    """What a dimension is made of."""

    ATOM = "atom"
    PRODUCT = "product"
    SUM = "sum"


class TieError(Exception):
    """Two dimensions of different sizes were tied: a bug of the rule that tied them."""


class Space:
    """Dimension expressions and the ties between them."""

    def __init__(self) -> None:
        self._parent: list[Dim] = []
        self._size: list[int] = []
        self._kind: list[Kind] = []
        self._parts: list[tuple[Dim, ...]] = []
        self._frozen: dict[Dim, str] = {}

    def __len__(self) -> int:
        return len(self._parent)

    # -- making ----------------------------------------------------------------------------------------------

    def atom(self, size: int) -> Dim:
        """A new independent dimension of `size` indices."""
        return self._new(Kind.ATOM, size, ())

    def atoms(self, sizes: Iterable[int]) -> tuple[Dim, ...]:
        """One new atom for each size."""
        return tuple(self.atom(size) for size in sizes)

    def product(self, *factors: Dim) -> Dim:
        """The dimension that merges `factors`, slowest first. Factors of size 1 fall away."""
        kept = tuple(f for f in factors if self.size(f) != 1)
        if len(kept) == 1:
            return kept[0]
        return self._new(Kind.PRODUCT, math.prod(map(self.size, kept)), kept) if kept else self.atom(1)

    def sum(self, *terms: Dim) -> Dim:
        """The dimension that joins `terms`, first to last. Terms of size 0 fall away."""
        kept = tuple(t for t in terms if self.size(t) != 0)
        if len(kept) == 1:
            return kept[0]
        return self._new(Kind.SUM, sum(map(self.size, kept)), kept) if kept else self.atom(0)

    # -- tying -----------------------------------------------------------------------------------------------

    def tie(self, left: Dim, right: Dim) -> None:
        """Make `left` and `right` one index set.

        Raises:
            TieError: their sizes differ.
        """
        work = [(left, right)]
        while work:
            self._tie_one(*work.pop(), work)

    def factor(self, dim: Dim, sizes: Sequence[int]) -> tuple[Dim, ...]:
        """Read `dim` as a product of `sizes`, slowest first, and return the factors."""
        factors = self.atoms(sizes)
        self.tie(self.product(*factors), dim)
        return factors

    def split(self, dim: Dim, sizes: Sequence[int]) -> tuple[Dim, ...]:
        """Cut `dim` into consecutive pieces of `sizes`, and return the pieces."""
        terms = self.atoms(sizes)
        self.tie(self.sum(*terms), dim)
        return terms

    def freeze(self, dim: Dim, reason: str) -> None:
        """Forbid cutting any index of `dim`. The first reason given stays."""
        self._frozen.setdefault(self.root(dim), reason)

    # -- looking ---------------------------------------------------------------------------------------------

    def root(self, dim: Dim) -> Dim:
        """The representative of the class of `dim`."""
        parent = self._parent
        while parent[dim] != dim:
            parent[dim] = dim = parent[parent[dim]]
        return dim

    def size(self, dim: Dim) -> int:
        """How many indices `dim` has."""
        return self._size[dim]

    def kind(self, dim: Dim) -> Kind:
        """What `dim` is made of, as far as is known."""
        return self._kind[self.root(dim)]

    def parts(self, dim: Dim) -> tuple[Dim, ...]:
        """Factors or terms of `dim`, flattened, as representatives; () for an atom."""
        root = self.root(dim)
        kind = self._kind[root]
        if kind is Kind.ATOM:
            return ()
        flat: list[Dim] = []
        stack = list(reversed(self._parts[root]))
        while stack:
            part = self.root(stack.pop())
            if self._kind[part] is kind:
                stack.extend(reversed(self._parts[part]))
            else:
                flat.append(part)
        self._parts[root] = tuple(flat)
        return self._parts[root]

    def frozen(self) -> dict[Dim, str]:
        """Every frozen atom (as its representative) and why."""
        found: dict[Dim, str] = {}
        seen: set[Dim] = set()
        for dim in sorted(self._frozen):
            stack = [self.root(dim)]
            while stack:
                at = stack.pop()
                if at in seen:
                    continue
                seen.add(at)
                if self._kind[at] is Kind.ATOM:
                    found[at] = self._frozen[dim]
                else:
                    stack.extend(self.parts(at))
        return found

    # -- inside ----------------------------------------------------------------------------------------------

    def _new(self, kind: Kind, size: int, parts: tuple[Dim, ...]) -> Dim:
        self._parent.append(len(self._parent))
        self._size.append(size)
        self._kind.append(kind)
        self._parts.append(parts)
        return len(self._parent) - 1

    def _link(self, child: Dim, parent: Dim) -> None:
        self._parent[child] = parent
        reason = self._frozen.pop(child, None)
        if reason is not None:
            self._frozen.setdefault(parent, reason)

    def _tie_one(self, left: Dim, right: Dim, work: list[tuple[Dim, Dim]]) -> None:
        left, right = self.root(left), self.root(right)
        if left == right:
            return
        if self._size[left] != self._size[right]:
            raise TieError(f"sizes {self._size[left]} and {self._size[right]} cannot be one index set")
        if self._kind[left] is Kind.ATOM:
            self._link(left, right)
        elif self._kind[right] is Kind.ATOM:
            self._link(right, left)
        elif self._kind[left] is self._kind[right]:
            align = align_products if self._kind[left] is Kind.PRODUCT else align_sums
            pairs = align(self, self.parts(left), self.parts(right))
            self._link(right, left)
            work.extend(pairs)
        else:
            product, total = (left, right) if self._kind[left] is Kind.PRODUCT else (right, left)
            pairs, aligned = cut_product(self, self.parts(product), self.parts(total))
            self._link(*((total, product) if aligned else (product, total)))
            work.extend(pairs)
