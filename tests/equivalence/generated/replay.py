"""Running the operators of a tape on what a removal leaves, with their integers adapted by trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tests.equivalence.generated.reach import LOOKUPS, Removed, removed_elements
from tests.equivalence.generated.tape import Entry, Slot, Tape, aten

SYMMETRIC = frozenset(
    {
        aten.mean.dim,
        aten.mean.default,
        aten.var.correction,
        aten.amax.default,
        aten.amin.default,
        aten.logsumexp.default,
    }
)
"""Reductions that treat all that they fold up alike: on what is left they give what they are meant to."""

_RENAMES = frozenset({aten.view.default, aten._unsafe_view.default, aten.reshape.default})
_STATE_SHAPE = _RENAMES | {aten.expand.default}
_TRIALS = 3000


class UnfitError(Exception):
    """No integers make the operator work on what is left."""


def left(tensor: Tensor, value: int, removed: Removed) -> Tensor:
    """A tensor without what is removed of it."""
    for dim in range(tensor.dim()):
        gone = removed.get((value, dim))
        if gone is not None:
            tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(~gone)))
    return tensor


@dataclass(frozen=True)
class Fit:
    """How an operator is called on what is left.

    Attributes:
        args: its arguments, integers adapted.
        tables: tables of constants with what they point to renumbered, by place among the tensors it reads.
    """

    args: tuple[Any, ...]
    tables: Mapping[int, Tensor] = field(default_factory=dict)


def fit(tape: Tape, place: int, removed: Removed) -> Fit:
    """How to call the operator so that it gives on what is left what it should.

    Raises:
        UnfitError: there is no way.
    """
    entry = tape.entries[place]
    tables = _renumbered(tape, entry, removed)
    given = [left(tape.values[read], read, removed) for read in entry.reads]
    given = [tables.get(position, tensor) for position, tensor in enumerate(given)]
    wanted = [left(tape.values[made], made, removed) for made in entry.makes]
    summed: list[Tensor] | None = None
    for args in islice(_candidates(tape, entry, removed), _TRIALS):
        try:
            made = run(entry, given, args)
        except (RuntimeError, IndexError, ValueError, TypeError):
            continue
        if [one.shape for one in made] != [one.shape for one in wanted]:
            continue
        if entry.function in SYMMETRIC or _close(made, wanted):
            return Fit(args, tables)
        if summed is None:
            gone = [torch.from_numpy(removed_elements(tape, read, removed)) for read in entry.reads]
            zeroed = [
                tape.values[read].masked_fill(mask, 0) for read, mask in zip(entry.reads, gone, strict=True)
            ]
            whole = entry.run(zeroed)
            summed = [left(one, value, removed) for one, value in zip(whole, entry.makes, strict=True)]
        if _close(made, summed):
            return Fit(args, tables)
    raise UnfitError(f"{entry.function} cannot work on what is left")


def _renumbered(tape: Tape, entry: Entry, removed: Removed) -> dict[int, Tensor]:
    """Tables that are constants, when what they look up loses indices: each entry as it is numbered then."""
    if entry.function not in LOOKUPS:
        return {}
    looked_up = entry.reads[0]
    if entry.function is aten.index.Tensor:
        dims = [dim for dim, table in enumerate(entry.args[1]) if isinstance(table, Slot)]
    else:
        dims = [0 if entry.function is aten.embedding.default else entry.args[1]]
    found = {}
    for position, dim in enumerate(dims, start=1):
        gone, table = removed.get((looked_up, dim)), entry.reads[position]
        if gone is not None and table in tape.constants:
            numbers = np.cumsum(~gone) - 1
            whole = torch.from_numpy(numbers)[tape.values[table]]
            found[position] = left(whole, table, removed)
    return found


def run(entry: Entry, given: list[Tensor], args: tuple[Any, ...] | None = None) -> list[Tensor]:
    """Runs an operator; one that renames positions may need a copy, for what is left has another layout."""
    if entry.function in _RENAMES:
        sizes = (entry.args if args is None else args)[1]
        return [given[0].reshape(sizes)]
    return entry.run(given, args)


def rerun(tape: Tape, removed: Removed, fits: Mapping[int, Fit]) -> list[Tensor]:
    """The outputs of the whole network after a removal, every operator run on the results of those before."""
    values: dict[int, Tensor] = {}
    made_on_the_way = {made for entry in tape.entries for made in entry.makes}
    for value, tensor in enumerate(tape.values):
        if value not in made_on_the_way:
            values[value] = left(tensor, value, removed)
    for place, entry in enumerate(tape.entries):
        fitted = fits.get(place, Fit(entry.args))
        given = [fitted.tables.get(at, values[read]) for at, read in enumerate(entry.reads)]
        values.update(zip(entry.makes, run(entry, given, fitted.args), strict=True))
    return [values[value] for value in tape.outputs]


def _candidates(tape: Tape, entry: Entry, removed: Removed) -> Iterator[tuple[Any, ...]]:
    """Arguments to try: first as they are, then every integer replaced by what it may have become."""
    if entry.function in _STATE_SHAPE:
        yield (entry.args[0], list(left(tape.values[entry.makes[0]], entry.makes[0], removed).shape))
        return
    yield entry.args
    if entry.function is aten.split_with_sizes.default:
        # Of many pieces there are more combinations than can be tried; what is left of each says it at once.
        dim = entry.args[2] if len(entry.args) > 2 else 0
        sizes = [left(tape.values[piece], piece, removed).shape[dim] for piece in entry.makes]
        yield (entry.args[0], sizes, *entry.args[2:])
    changed = [
        (int(gone.size), ~gone)
        for value in {*entry.reads, *entry.makes}
        for dim in range(tape.values[value].dim())
        if (gone := removed.get((value, dim))) is not None
    ]
    leaves, spec = pytree.tree_flatten(entry.args)
    choices = [_became(leaf, changed) if type(leaf) is int else [leaf] for leaf in leaves]
    for chosen in product(*choices):
        if list(chosen) != leaves:
            yield pytree.tree_unflatten(list(chosen), spec)


def _became(number: int, changed: list[tuple[int, np.ndarray]]) -> list[int]:
    """What an integer may be after the removal: a size, a boundary, a number of groups or of copies."""
    found = [number]
    for size, stays in changed:
        count = int(stays.sum())
        if number == size:
            found.append(count)
        if 0 < number < size:
            found += [int(stays[:number].sum()), int(stays[-number:].sum())]
        if -size < number < 0:
            found += [-int(stays[number:].sum()), -int(stays[:-number].sum())]
        if number > 0 and number * count % size == 0:
            found.append(number * count // size)
        if number > 0 and size % number == 0 and number < size:  # one of several equal parts
            part = size // number
            found += sorted({int(stays[start : start + number].sum()) for start in range(0, size, number)})
            found += sorted({int(stays[start : start + part].sum()) for start in range(0, size, part)})
    return list(dict.fromkeys(found))


def _close(found: list[Tensor], wanted: list[Tensor]) -> bool:
    for one, other in zip(found, wanted, strict=True):
        if one.is_floating_point():
            scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
            if not math.isfinite(scale) or not bool(((one - other).abs() <= 1e-9 * scale).all()):
                return False
        elif not torch.equal(one, other):
            return False
    return True
