"""Batches of any size through an artifact that is made for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penjing.devices.compare import Array

Compute = Callable[[list[Array]], Sequence[Array]]
"""Outputs of inputs, in order."""


def in_pieces(compute: Compute, given: Sequence[Array], size: int | None) -> list[Array]:
    """Outputs for inputs whose first dimensions are of another size than the artifact's.

    They are cut into pieces; the last one is filled up with copies of its last row.

    Args:
        compute: runs the artifact.
        given: the inputs.
        size: of the first dimension of all its inputs and outputs; None where they have no such.
    """
    rows = {len(value) if value.ndim else 0 for value in given}
    if size is None or rows == {size} or len(rows) != 1:
        return list(compute(list(given)))
    (count,) = rows
    if not count:
        empty = [np.zeros((size, *value.shape[1:]), value.dtype) for value in given]
        return [result[:0] for result in compute(empty)]
    found = []
    for start in range(0, count, size):
        pieces = [value[start : start + size] for value in given]
        short = size - len(pieces[0])
        padded = [np.concatenate([piece, *[piece[-1:]] * short]) for piece in pieces]
        found.append([result[: size - short] for result in compute(padded)])
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def shared_size(shapes: Sequence[Sequence[int]]) -> int | None:
    """The first dimension that all have; None where they differ."""
    firsts = {tuple(shape[:1]) for shape in shapes}
    return int(next(iter(firsts))[0]) if len(firsts) == 1 and () not in firsts else None
