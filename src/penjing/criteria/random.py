"""Random worth: what every other criterion has to beat."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.statistics import Statistics
from penjing.network import Axis


def random(size: int, *, name: str, seed: int) -> Tensor:
    """Independent uniform numbers in [0, 1), float64 [size].

    Args:
        size: how many.
        name: of the axis; axes of one network get different numbers, whatever their order.
        seed: another seed, other numbers.

    Source: the baseline of Li et al. 2017, arXiv:1608.08710; Mittal et al. 2018,
    arXiv:1801.10447, on how hard it is to beat after fine-tuning.
    """
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=4).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.rand(size, generator=generator, dtype=torch.float64)


@final
@dataclass(frozen=True)
class Random(UnitCriterion):
    """A uniform random number for every unit.

    Attributes:
        seed: equal seeds give equal numbers.
    """

    seed: int = 0
    record: ClassVar[Record] = Record(
        name="random",
        summary="a uniform random number for every unit",
        scores="units",
        needs=frozenset(),
        normalise="none",
        source="Li et al. 2017, arXiv:1608.08710; Mittal et al. 2018, arXiv:1801.10447",
        cost="nothing",
    )

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """Uniform in [0, 1)."""
        return random(axis.size, name=axis.name, seed=self.seed)
