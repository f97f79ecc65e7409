"""Whether what a model gives for some inputs holds for others: an artifact is made for one example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from penjing.devices.compare import apart
from penjing.devices.feeds import array
from penjing.devices.pieces import shared_size
from penjing.network import Call

PLAIN: Final = (bool, int, float, complex, str, bytes, type(None))
"""Outputs that can be told from one another."""

ROUNDING: Final = 1e-3
"""Rows that differ by less, relative to the largest of an output, were added up in another order."""


@dataclass(frozen=True)
class Rows:
    """What a model does with other inputs than the example's.

    Attributes:
        values: why the example's outputs that are no tensors do not hold for other inputs; "" where they do.
        sizes: why pieces of a batch put together are not the batch; "" where they are.
    """

    values: str = ""
    sizes: str = ""

    @classmethod
    def of(cls, model: torch.nn.Module, call: Call, result: Any) -> Rows:
        """Runs `model` on other numbers, and on both as one batch.

        Args:
            model: in eval mode.
            call: the example inputs.
            result: what it gave for them.
        """
        first = pytree.tree_leaves(result)
        other = call.map(_other)
        second = pytree.tree_leaves(other.copy().run(model))
        if not _alike(first, second):
            return cls(values="an output that is no tensor changes with the inputs", sizes="")
        inputs = [leaf for leaf in pytree.tree_leaves((call.args, call.kwargs)) if isinstance(leaf, Tensor)]
        tensors = [leaf for leaf in first if isinstance(leaf, Tensor)]
        if shared_size([one.shape for one in (*inputs, *tensors)]) is None:
            return cls(sizes="its inputs and outputs do not all begin with the batch")
        others = iter(leaf for leaf in pytree.tree_leaves((other.args, other.kwargs)))
        both = call.map(lambda leaf: _joined(leaf, next(others)))
        try:
            third = pytree.tree_leaves(both.run(model))
        except Exception as error:  # the user's own code
            return cls(sizes=f"it takes no other batch: {type(error).__name__}: {error}")
        if not _alike(first, third):
            return cls(sizes="an output that is no tensor changes with the size of the batch")
        apart_rows = [torch.cat([a, b]) for a, b in zip(first, second, strict=True) if isinstance(a, Tensor)]
        together = [leaf for leaf in third if isinstance(leaf, Tensor)]
        if not apart([array(one) for one in together], [array(one) for one in apart_rows]) <= ROUNDING:
            return cls(sizes="the rows of a batch are not computed one by one")
        return cls()


def same(one: object, other: object) -> bool:
    """Whether two leaves that are no tensors are equal, as far as they can be compared."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # of whatever type: arrays of several numbers are neither equal nor not
        return False


def _alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether both have tensors in the same places, and equal plain values."""
    return len(one) == len(other) and all(
        isinstance(a, Tensor) == isinstance(b, Tensor) and (not isinstance(a, PLAIN) or same(a, b))
        for a, b in zip(one, other, strict=True)
    )


def _other(leaf: Any) -> Any:
    """Other numbers that the model takes: smaller ones; of what is counted or marked, other rows."""
    if not isinstance(leaf, Tensor):
        return leaf
    if leaf.is_floating_point() or leaf.is_complex():
        return leaf.detach() * 0.75
    return leaf.detach().roll(1, 0) if leaf.ndim else leaf.detach().clone()


def _joined(one: Any, other: Any) -> Any:
    return torch.cat([one.detach(), other]) if isinstance(one, Tensor) else one
