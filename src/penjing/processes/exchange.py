"""What processes give one another: sums in a fixed order, what the first one knows, shares of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar, cast

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from penjing.processes.group import Group, group, rank, world

T = TypeVar("T")

_AT_ONCE: Final = 2**22
"""Numbers that are summed at a time."""


@torch.no_grad()
def sum_(tensors: Sequence[Tensor]) -> None:
    """Each tensor becomes its sum over all processes: of the same bits in all of them, whoever came first.

    Summed in float64 in order of rank, and then rounded once.

    Args:
        tensors: of the same shapes in every process; changed in place.

    Raises:
        PenjingError: PJ340 or PJ341, another process has failed or is lost.
    """
    found = group()
    if found is None or not tensors:
        return
    found.board.gather()
    wide = torch.cat([tensor.detach().reshape(-1).to("cpu", torch.float64) for tensor in tensors])
    for begin in range(0, len(wide), _AT_ONCE):
        part = wide[begin : begin + _AT_ONCE]
        every = [torch.empty_like(part) for _ in range(found.world)]
        distributed.all_gather(every, part, group=found.gloo)
        part.copy_(every[0])
        for other in every[1:]:
            part += other
    for tensor, total in zip(tensors, wide.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(total.reshape(tensor.shape))


def joined(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """The tensors of all processes, one behind the other along the first dimension, in order of rank.

    Args:
        tensor: [rows[rank], ...], of any type; the other sizes are alike in all processes.
        rows: how many each process has.

    Raises:
        PenjingError: as `sum_`.
    """
    found = group()
    if found is None:
        return tensor
    found.board.gather()
    plain = tensor.detach().to("cpu").contiguous()
    if plain.dtype == torch.bool:
        return joined(plain.to(torch.uint8), rows).to(tensor.device, torch.bool)
    full = plain.new_zeros((max(rows), *plain.shape[1:]))
    full[: len(plain)] = plain
    every = [torch.empty_like(full) for _ in rows]
    distributed.all_gather(every, full, group=found.gloo)
    return torch.cat([one[:count] for one, count in zip(every, rows, strict=True)]).to(tensor.device)


def from_first(value: T) -> T:
    """What the first process has: plain values, tensors, and structures of them; others give anything.

    Raises:
        PenjingError: as `sum_`.
    """
    found = group()
    if found is None:
        return value
    found.board.gather()
    held = [value if found.rank == 0 else None]
    distributed.broadcast_object_list(held, group=found.gloo, group_src=0)
    return cast(T, held[0])


def from_each(value: T) -> list[T]:
    """What each process has, in order of rank.

    Raises:
        PenjingError: as `sum_`.
    """
    found: Group | None = group()
    if found is None:
        return [value]
    found.board.gather()
    every: list[Any] = [None] * found.world
    distributed.all_gather_object(every, value, group=found.gloo)
    return every


def split_already(batches: Iterable[Any]) -> bool:
    """Whether the data give other batches to every process: a loader with a `DistributedSampler`."""
    if not isinstance(batches, DataLoader):
        return False
    samplers = (batches.sampler, getattr(batches.batch_sampler, "sampler", None))
    return any(isinstance(sampler, DistributedSampler) for sampler in samplers)


def mine(batches: Iterable[T], *, split: bool | None = None) -> Iterator[tuple[int, T]]:
    """Every batch that this process has to look at, and its number: in turn, so that each is looked at once.

    Where the data are split already, all that it is given; `split` says so of what does not show it.
    """
    own, count = rank(), world()
    split = split_already(batches) if split is None else split
    for number, batch in enumerate(batches):
        if split:
            yield number * count + own, batch
        elif number % count == own:
            yield number, batch
