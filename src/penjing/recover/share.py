"""A batch spread over processes: each runs its samples, and the loss is that of the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing import processes
from penjing.network.batch import Batch
from penjing.recover.samples import WholeBatch

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """What one process does of a batch.

    Outputs of all processes are put together, and every process computes the loss of the whole batch from
    them. Gradients flow to its own samples only: their sum over processes is the gradient of that loss,
    whatever the loss does with the samples.

    Attributes:
        rows: samples of every process; empty where the batch cannot be split, and all do the same.
        loader: whether the data came split, so that every process has a loss of its own.
    """

    rows: tuple[int, ...]
    loader: bool

    @classmethod
    def of(cls, batch: Batch, *, loader: bool) -> Share:
        """How to spread a batch.

        Args:
            batch: of this process.
            loader: whether the data give every process samples of its own.
        """
        size, world = _size(batch.given), processes.world()
        if loader:
            return cls(tuple(processes.from_each(max(1, size))), True)
        if size < world:
            return cls((), False)
        return cls(tuple(size // world + (r < size % world) for r in range(world)), False)

    @property
    def even(self) -> bool:
        """Whether all processes draw as many random numbers, whatever the model draws."""
        return len(set(self.rows)) < 2

    def part(self, model: nn.Module, batch: Batch) -> Batch:
        """The samples of this process."""
        if self.loader or not self.rows:
            return batch
        size, first, count = sum(self.rows), self._first, self.rows[processes.rank()]

        def cut(tensor: Tensor) -> Tensor:
            return tensor[first : first + count] if tensor.ndim and len(tensor) == size else tensor

        given = pytree.tree_map_only(Tensor, cut, batch.given)
        return Batch.read(model, given, batch.number, narrow=batch.narrow)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, batch norms and dropouts work as on the whole batch."""
        if not self.rows:
            yield
            return
        with WholeBatch(self.rows):
            yield

    def whole(self, outputs: T) -> T:
        """Outputs of the whole batch, from those of the processes; a number becomes the mean over samples."""
        if self.loader or not self.rows:
            return outputs
        count = self.rows[processes.rank()]

        def put_together(leaf: Tensor) -> Tensor:
            if not leaf.ndim and leaf.is_floating_point():
                return _total(leaf * (count / sum(self.rows)))
            if not leaf.ndim or len(leaf) % count:
                return leaf
            joined: Tensor = _Joined.apply(leaf, self.rows, len(leaf) // count)  # type: ignore[no-untyped-call]
            return joined

        return pytree.tree_map_only(Tensor, put_together, outputs)  # type: ignore[no-any-return]

    def loss(self, loss: Tensor) -> Tensor:
        """Of all processes; the sum of its gradients over them is that of the loss of the whole batch."""
        if self.loader:
            return _total(loss * (self.rows[processes.rank()] / sum(self.rows)))
        return loss if self.rows or processes.is_first() else loss.detach() + 0 * loss

    @property
    def _first(self) -> int:
        return sum(self.rows[: processes.rank()])


def even_random_numbers() -> None:
    """Goes on with the random numbers of the first process."""
    torch.set_rng_state(processes.from_first(torch.get_rng_state()))


def _size(given: Any) -> int:
    """Samples of a batch: the first size of its first tensor; 0 where it has none."""
    leaves = (leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor) and leaf.ndim)
    return next((len(leaf) for leaf in leaves), 0)


def _total(value: Tensor) -> Tensor:
    """The sum over processes; gradients flow to the part of this one."""
    total = value.detach().clone()
    processes.sum_([total])
    return value + (total - value.detach())


class _Joined(torch.autograd.Function):
    """The rows of all processes; gradients flow to the own ones."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows: tuple[int, ...], each: int) -> Tensor:
        counts = [each * count for count in rows]
        ctx.first, ctx.count = sum(counts[: processes.rank()]), counts[processes.rank()]
        return processes.joined(tensor, counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0][ctx.first : ctx.first + ctx.count], None, None
