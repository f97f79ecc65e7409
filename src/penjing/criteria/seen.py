"""What is noted of a value along one dimension, batch after batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from penjing import processes

ROWS = 4096
"""Positions of a batch, at most, from which products of units are summed."""

MAPS = 512
"""Samples of a batch, at most, whose maps are ranked."""


@dataclass(frozen=True)
class Samples:
    """Where the samples of a batch lie in a value.

    Attributes:
        dim: the dimension.
        labels: the sample that each index along it is of.
        count: how many samples there are.
    """

    dim: int
    labels: tuple[int, ...]
    count: int


class Seen:
    """Sums over batches, of units; where a unit stands for several indices, over all of these.

    Attributes:
        size: sum of absolute values, float64 [units].
        counts: of how many values, float64 [units].
        largest: largest absolute value, float64 [units].
        zeros: how many are zero, float64 [units].
        samples: mean over the positions and indices of each sample, float32 [samples, units].
        rows: from how many positions products were summed.
        sums: of means over indices, float64 [units].
        products: likewise, of every two, float64 [units, units].
        maps: of how many samples maps were ranked.
        ranks: sum of the ranks of maps, float64 [units].
    """

    def __init__(self, units: int, details: Collection[str] = ()) -> None:
        """Nothing is seen yet."""
        self._details = frozenset(details)
        self.rows = self.maps = 0
        self.size, self.counts, self.largest, self.zeros, self.sums, self.ranks = (
            torch.zeros(units, dtype=torch.float64) for _ in range(6)
        )
        self.products = torch.zeros(units, units, dtype=torch.float64)
        self._samples: list[Tensor] = [torch.zeros(0, units)]

    @property
    def samples(self) -> Tensor:
        """All of them, one behind the other."""
        return torch.cat(self._samples)

    def note(self, value: Tensor, dim: int, units: Sequence[int], samples: Samples | None) -> None:
        """Takes one batch in.

        Args:
            value: an activation.
            dim: the dimension to look along.
            units: the unit of every index; -1 for none.
            samples: where they are; None where that is not known: every position then counts as one.
        """
        value = value.detach().float().cpu()
        if not value.numel():
            return
        places = torch.tensor(units)
        held = (places >= 0).nonzero().flatten()
        places = places[held]
        each = torch.bincount(places, minlength=len(self.size)).clamp_min(1)
        every = value.movedim(dim, -1).flatten(0, -2)[:, held]  # [positions, indices]
        absolute = every.abs()
        self.counts.index_add_(0, places, torch.full((len(held),), float(len(every)), dtype=torch.float64))
        self.size.index_add_(0, places, absolute.sum(0, dtype=torch.float64))
        self.zeros.index_add_(0, places, (every == 0).sum(0).double())
        self.largest.scatter_reduce_(0, places, absolute.amax(0).double(), "amax")
        self._samples.append(_by_sample(self._signal(every, places, each), value, dim, samples))
        if "correlations" in self._details:
            some = self._signal(every[:: -(-len(every) // ROWS)].double(), places, each)
            self.rows += len(some)
            self.sums += some.sum(0)
            self.products += some.mT @ some
        if "ranks" in self._details and bool(self.largest.isfinite().all()):
            self._rank(value, dim, held, places, each, samples)

    def _signal(self, every: Tensor, places: Tensor, each: Tensor) -> Tensor:
        """[positions, units]: the mean over the indices of every unit."""
        total = torch.zeros(len(every), len(self.size), dtype=every.dtype)
        return total.index_add_(1, places, every) / each

    def _rank(
        self, value: Tensor, dim: int, held: Tensor, places: Tensor, each: Tensor, samples: Samples | None
    ) -> None:
        """Of maps [height, width, ...] where there are any; else whether a unit is not zero in a sample."""
        first = samples is not None and samples.dim == 0 and len(samples.labels) == samples.count
        if value.ndim >= 4 and dim and first:
            maps = value.movedim(dim, 1)[:MAPS, held].flatten(3)
            ranks = torch.linalg.matrix_rank(maps).sum(0).double()
            self.maps += len(maps)
        else:
            shown = _by_sample(
                (value.movedim(dim, -1).flatten(0, -2)[:, held] != 0).float(), value, dim, samples
            )
            ranks = (shown[:MAPS] > 0).sum(0).double()
            self.maps += min(MAPS, len(shown))
        self.ranks += torch.zeros_like(self.ranks).index_add_(0, places, ranks) / each

    def share(self) -> None:
        """Adds what other processes have seen of their batches."""
        if processes.world() == 1:
            return
        counts = torch.tensor([self.rows, self.maps], dtype=torch.float64)
        processes.sum_([counts, self.size, self.counts, self.zeros, self.sums, self.products, self.ranks])
        self.rows, self.maps = (int(count) for count in counts)
        self.largest = torch.stack(processes.from_each(self.largest)).amax(0)
        self._samples = [processes.joined(self.samples, processes.from_each(len(self.samples)))]


def _by_sample(rows: Tensor, value: Tensor, dim: int, samples: Samples | None) -> Tensor:
    """[samples, columns]: means over the positions of each sample, of rows that are the value's positions."""
    if samples is None:
        return rows
    sizes = [size for place, size in enumerate(value.shape) if place != dim % value.ndim]
    along = samples.dim - (samples.dim > dim % value.ndim)
    by_index = rows.unflatten(0, sizes).movedim(along, 0).reshape(sizes[along], -1, rows.shape[1]).mean(1)
    labels = torch.tensor(samples.labels)
    total = torch.zeros(samples.count, rows.shape[1], dtype=rows.dtype).index_add_(0, labels, by_index)
    return total / torch.bincount(labels, minlength=samples.count).clamp_min(1)[:, None]
