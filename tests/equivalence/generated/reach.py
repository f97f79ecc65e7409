"""What an index reaches: perturb it, run the one operator again, and see which elements changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from tests.equivalence.generated.tape import Entry, Tape, aten

Flags = np.ndarray
"""One bool for each element or index."""

Removed = Mapping[tuple[int, int], Flags]
"""(value, dimension) -> for every index whether it is removed."""

PRODUCTS = frozenset(
    {
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten.baddbmm.default,
        aten.convolution.default,
        aten.mv.default,
        aten.dot.default,
    }
)
"""Sums of products: what is multiplied by something gone goes too."""

LOOKUPS = frozenset(
    {aten.index.Tensor, aten.index_select.default, aten.embedding.default, aten.gather.default}
)
"""Operators that look their first argument up in a table: what nothing looks up may still stay."""

_BY_SIGN = frozenset({aten._prelu_kernel.default})
"""Operators that read one argument only where another is negative: they are looked at with both signs."""


def removed_elements(tape: Tape, value: int, removed: Removed) -> Flags:
    """For every element of a value whether any of its indices is removed."""
    shape = tuple(tape.values[value].shape)
    gone = np.zeros(shape, dtype=bool)
    for dim in range(len(shape)):
        indices = removed.get((value, dim))
        if indices is not None:
            gone |= indices.reshape([-1 if d == dim else 1 for d in range(len(shape))])
    return gone


class Reach:
    """Which elements of an operator's outputs (all in one row) an input's indices reach.

    What one index reaches does not depend on what is removed, so it is looked at once.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._rows: dict[tuple[int, int], tuple[list[tuple[int, int]], Flags]] = {}
        self._base: dict[tuple[int, bool], list[Tensor]] = {}

    def rows(self, place: int, position: int) -> tuple[list[tuple[int, int]], Flags]:
        """Every (dimension, index) of the input at `position`, and for each the elements that it reaches."""
        if (place, position) not in self._rows:
            tensor = self.tape.values[self.tape.entries[place].reads[position]]
            slices = [(dim, index) for dim in range(tensor.dim()) for index in range(tensor.shape[dim])]
            found = []
            for dim, index in slices:
                mask = torch.zeros(tensor.shape, dtype=torch.bool)
                mask.select(dim, index).fill_(True)
                found.append(self.of(place, position, mask))
            width = sum(self.tape.values[made].numel() for made in self.tape.entries[place].makes)
            self._rows[place, position] = slices, np.array(found, dtype=bool).reshape(len(slices), width)
        return self._rows[place, position]

    def of(self, place: int, position: int, mask: Tensor) -> Flags:
        """Elements of the outputs that depend on the masked elements of the input at `position`."""
        changed = self._poison(place, position, mask, negated=False)
        if self.tape.entries[place].function in _BY_SIGN:
            changed |= self._poison(place, position, mask, negated=True)
        return changed

    def starved(self, place: int, removed: Removed) -> Flags:
        """Elements of the outputs for which nothing is left of some argument that they read."""
        entry = self.tape.entries[place]
        found = np.zeros(sum(self.tape.values[made].numel() for made in entry.makes), dtype=bool)
        for position, read in enumerate(entry.reads):
            dims = [dim for dim in range(self.tape.values[read].dim()) if (read, dim) in removed]
            if not dims:
                continue
            slices, rows = self.rows(place, position)
            gone = np.array([dim in dims and removed[read, dim][index] for dim, index in slices])
            lost = rows[gone].any(axis=0)
            if len(dims) == 1:
                stays = np.array([dim == dims[0] for dim, _ in slices]) & ~gone
                kept = rows[stays].any(axis=0)
            else:
                mask = torch.from_numpy(~removed_elements(self.tape, read, removed))
                kept = self.of(place, position, mask)
            found |= lost & ~kept
        return found

    def useless(self, place: int, gone: Flags) -> set[tuple[int, int, int]]:
        """Slices (value, dimension, index) of inputs that reach nothing but elements that are gone."""
        found = set()
        entry = self.tape.entries[place]
        for position, read in enumerate(entry.reads):
            if position == 0 and entry.function in LOOKUPS:
                continue
            slices, rows = self.rows(place, position)
            idle = rows.any(axis=1) & ~(rows & ~gone).any(axis=1)
            found |= {(read, *slices[number]) for number in np.flatnonzero(idle)}
        return found

    def partners(self, place: int, removed: Removed, gone: Flags) -> set[tuple[int, int, int]]:
        """Slices that reach what is left of the outputs only together with what is removed.

        A sum of products of ones, with zeros for what is removed: its derivative by an element counts the
        products with something left that the element takes part in.
        """
        entry = self.tape.entries[place]
        if entry.function not in PRODUCTS:
            return set()
        left = [
            torch.from_numpy(~removed_elements(self.tape, read, removed)).double() for read in entry.reads
        ]
        if all(bool(one.all()) for one in left):
            return set()
        with torch.enable_grad():
            given = [one.requires_grad_() for one in left]
            (made,) = entry.run(given)
            alive = torch.from_numpy(~gone).reshape(made.shape)
            counts = torch.autograd.grad((made * alive).sum(), given)
        found = set()
        for position, (read, count) in enumerate(zip(entry.reads, counts, strict=True)):
            slices, rows = self.rows(place, position)
            some = count.numpy() > 0
            for (dim, index), row in zip(slices, rows, strict=True):
                known = removed.get((read, dim))
                idle = not some.take(index, axis=dim).any()
                if idle and not (known is not None and known[index]) and (row & ~gone).any():
                    found.add((read, dim, index))
        return found

    def _poison(self, place: int, position: int, mask: Tensor, *, negated: bool) -> Flags:
        """Elements that change when NaN stands where the mask is set; in a table, another index."""
        entry = self.tape.entries[place]
        given = self._given(entry, negated=negated)
        poisoned = given[position]
        if poisoned.is_floating_point():
            given[position] = poisoned.masked_fill(mask, float("nan"))
        elif poisoned.dtype == torch.bool:
            given[position] = poisoned ^ mask
        else:
            given[position] = torch.where(
                mask, torch.where(poisoned > 0, poisoned - 1, poisoned + 1), poisoned
            )
        if (place, negated) not in self._base:
            self._base[place, negated] = entry.run(self._given(entry, negated=negated))
        try:
            made = entry.run(given)
        except IndexError:  # a table into a single entry: there is no other index that could change anything
            made = self._base[place, negated]
        return _changed(self._base[place, negated], made)

    def _given(self, entry: Entry, *, negated: bool) -> list[Tensor]:
        given = [self.tape.values[read] for read in entry.reads]
        return [-x if x.is_floating_point() else x for x in given] if negated else given


def _changed(before: list[Tensor], after: list[Tensor]) -> Flags:
    """Elements that differ, of all outputs in one row; NaN equals NaN.

    Real numbers may differ in their last digits for no other reason than another layout in memory.
    """
    flat = []
    for one, other in zip(before, after, strict=True):
        if one.is_floating_point():
            differs = (one - other).abs() > 1e-9 * (1 + one.abs())
            differs |= one.isnan() != other.isnan()
        else:
            differs = one != other
        flat.append(differs.flatten().numpy())
    return reduce(lambda a, b: np.concatenate([a, b]), flat)
