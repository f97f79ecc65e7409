"""What is noted of a value along one dimension, batch after batch."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from penjing import processes

ROWS = 4096
"""Positions of a batch, at most, from which products of units are summed."""

MAPS = 512
"""Samples of a batch, at most, whose maps are ranked."""


class Seen:
    """Sums over batches.

    Attributes:
        count: values of every index.
        size: sum of their absolute values, float64 [indices].
        largest: largest absolute value, float64 [indices].
        zeros: how many are zero, float64 [indices].
        samples: mean over the positions of each sample, float32 [samples, indices].
        rows: from how many positions products were summed.
        sums: of units (means over their indices), float64 [size].
        products: of units, float64 [size, size].
        maps: of how many samples maps were ranked.
        ranks: sum of the ranks of maps, float64 [indices].
    """

    def __init__(self, details: Collection[str]) -> None:
        """Nothing is seen yet."""
        self._details = frozenset(details)
        self.count = self.rows = self.maps = 0
        nothing = torch.zeros(0, dtype=torch.float64)
        self.size = self.largest = self.zeros = self.sums = self.products = self.ranks = nothing
        self._samples: list[Tensor] = []

    @property
    def samples(self) -> Tensor:
        """All of them, one behind the other."""
        return torch.cat(self._samples)

    def note(
        self, value: Tensor, dim: int, units: tuple[int, ...], size: int, samples: int, number: int
    ) -> None:
        """Takes one batch in.

        Args:
            value: an activation; the batch's samples lie along its first dimension of their number, or are
                the outer part of its first.
            dim: the dimension to look along.
            units: the unit of every index.
            size: number of units.
            samples: how many the batch has.
            number: of the batch.
        """
        value = value.detach().float()
        maps = value.movedim(dim, 1) if value.ndim == 4 and dim and value.shape[0] == samples else None
        rows = _rows(value, dim, samples)  # [samples, positions, indices]
        every = rows.flatten(0, 1)
        absolute = every.abs()
        if not self.count:
            self.size, self.largest, self.zeros, self.ranks = (
                torch.zeros(every.shape[1], dtype=torch.float64) for _ in range(4)
            )
            self.sums = torch.zeros(size, dtype=torch.float64)
            self.products = torch.zeros(size, size, dtype=torch.float64)
        self.count += len(every)
        self.size += absolute.sum(0, dtype=torch.float64)
        self.largest = torch.maximum(self.largest, absolute.amax(0).double())
        self.zeros += (every == 0).sum(0)
        self._samples.append(rows.mean(1))
        if "correlations" in self._details:
            some = every[:: -(-len(every) // ROWS)]
            signal = _of_units(some.double(), units, size)
            self.rows += len(some)
            self.sums += signal.sum(0)
            self.products += signal.mT @ signal
        if "ranks" in self._details:
            ranked = maps[:MAPS] if maps is not None else rows[:MAPS].movedim(2, 1)[..., None]
            self.maps += len(ranked)
            self.ranks += torch.linalg.matrix_rank(ranked).sum(0)

    def share(self) -> None:
        """Adds what other processes have seen of their batches."""
        if processes.world() == 1:
            return
        shapes = processes.from_each((tuple(self.size.shape), tuple(self.sums.shape)))
        indices, size = max(shapes)
        if not self.count:  # no batch of this process came by here
            self.size, self.largest, self.zeros, self.ranks = (
                torch.zeros(indices, dtype=torch.float64) for _ in range(4)
            )
            self.sums = torch.zeros(size, dtype=torch.float64)
            self.products = torch.zeros(*size, *size, dtype=torch.float64)
            self._samples = [torch.zeros(0, *indices)]
        counts = torch.tensor([self.count, self.rows, self.maps], dtype=torch.float64)
        processes.sum_([counts, self.size, self.zeros, self.sums, self.products, self.ranks])
        self.count, self.rows, self.maps = (int(count) for count in counts)
        self.largest = torch.stack(processes.from_each(self.largest)).amax(0)
        self._samples = [processes.joined(self.samples, processes.from_each(len(self.samples)))]


def _rows(value: Tensor, dim: int, samples: int) -> Tensor:
    """The value as [samples, positions, indices]; where its samples are not seen, a position is one."""
    value = value.movedim(dim, -1)
    sizes = value.shape[:-1]
    along = next((place for place, size in enumerate(sizes) if size == samples), None)
    if along is not None:
        return value.movedim(along, 0).reshape(samples, -1, value.shape[-1])
    if sizes and samples and sizes[0] % samples == 0:
        return value.reshape(samples, -1, value.shape[-1])
    return value.reshape(-1, 1, value.shape[-1])


def _of_units(rows: Tensor, units: tuple[int, ...], size: int) -> Tensor:
    """[rows, size]: the mean over the indices of every unit."""
    places = torch.tensor(units)
    held = places >= 0
    total = torch.zeros(len(rows), size, dtype=rows.dtype).index_add_(1, places[held], rows[:, held])
    return total / torch.bincount(places[held], minlength=size).clamp_min(1)
