"""Calls to take the ranges of int8 numbers from: pieces of calibration batches, of the example's sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from torch import Tensor
from torch.utils import _pytree as pytree

from penjing.network import Call, Network
from penjing.network.batch import Batch
from penjing.network.seeding import seeded

SAMPLES: Final = 64
"""How many calls are looked at: ranges of activations settle within a few dozen."""


def ranges(net: Network, data: Iterable[Any] | None) -> list[Call]:
    """Up to `SAMPLES` calls; none where there is no data, or where no piece of it has the example's sizes.

    Raises:
        PenjingError: PJ310, a batch does not fit the model.
    """
    with seeded(0):  # a loader may draw: a run that goes on later is to see the same
        return list(islice(_pieces(net, data or ()), SAMPLES))


def _pieces(net: Network, data: Iterable[Any]) -> Iterator[Call]:
    leaves, structure = pytree.tree_flatten((net.call.args, net.call.kwargs))
    sizes = [leaf.shape if isinstance(leaf, Tensor) else None for leaf in leaves]
    rows = next((len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), 1)
    for number, given in enumerate(data):
        call = Batch.read(net.model, given, number).call
        found, other = pytree.tree_flatten((call.args, call.kwargs))
        if other != structure:
            continue
        whole = next((len(leaf) for leaf in found if isinstance(leaf, Tensor) and leaf.ndim), rows)
        for start in range(0, whole - rows + 1, rows):
            piece = [_cut(leaf, whole, start, rows) for leaf in found]
            if [leaf.shape if isinstance(leaf, Tensor) else None for leaf in piece] == sizes:
                args, kwargs = pytree.tree_unflatten(piece, structure)
                yield Call(args, kwargs)


def _cut(leaf: Any, whole: int, start: int, rows: int) -> Any:
    if not isinstance(leaf, Tensor) or not leaf.ndim or len(leaf) != whole:
        return leaf
    return leaf[start : start + rows]
