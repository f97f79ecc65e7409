"""N:M sparsity: of every m weights that follow one another, n stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from penjing.compress.masks.pattern import Pattern, Rest
from penjing.errors import PenjingError


@final
@dataclass(frozen=True)
class NM(Pattern):
    """Keeps the best n of every m weights along one dimension, exactly.

    2:4 along the inputs is what the sparse tensor cores of NVIDIA's GPUs multiply by. It decides by itself
    how many weights go: no rule is asked. Of equal scores the earlier goes.

    Attributes:
        n: how many stay, from 1.
        m: of how many, more than `n`.
        dim: of the weight; 1 is that of the inputs of linear layers and convolutions. May be negative.
        at_end: what becomes of fewer than m weights at the end: "refuse", or "dense", they stay.

    Raises:
        PenjingError: PJ811, there is no such pattern.

    Source: Mishra et al. 2021, arXiv:2104.08378; Zhou et al. 2021, arXiv:2102.04010, for any n and m.
    """

    n: int
    m: int
    dim: int = 1
    at_end: Rest = "refuse"

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise PenjingError(
                "PJ811",
                f"there is no pattern {self.n}:{self.m}",
                because="n of every m weights stay: at least one, and fewer than m",
                tries=["NM(2, 4)", "NM(1, 4)"],
            )

    @property
    def name(self) -> str:
        """Such as `2:4`."""
        return f"{self.n}:{self.m}"

    @property
    def sparsity(self) -> float:
        """The share of weights that go."""
        return 1 - self.n / self.m

    @property
    def rest(self) -> Rest:
        """As `at_end`."""
        return self.at_end

    def misfit(self, shape: Sequence[int]) -> str:
        """Weights without that dimension."""
        if -len(shape) <= self.dim < len(shape):
            return ""
        return f"it has no dimension {self.dim}"

    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Weights are scored one by one."""
        return (1,) * len(shape)

    def step(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A multiple of m along `dim`."""
        return tuple(self.m if dim == self.dim % len(shape) else 1 for dim in range(len(shape)))

    def fixed(self, scores: Tensor) -> Tensor:
        """The best n of every m along `dim`, bool, shaped as `scores`."""
        lanes = scores.movedim(self.dim, -1).unflatten(-1, (-1, self.m))
        gone = lanes.argsort(dim=-1, stable=True)[..., : self.m - self.n]
        kept = torch.ones_like(lanes, dtype=torch.bool).scatter_(-1, gone, False)
        return kept.flatten(-2).movedim(-1, self.dim)

    def eased(self, sparsity: float) -> NM | None:
        """The pattern on the way to this one by which at most that share goes; None where nothing would."""
        n = max(self.n, math.ceil(self.m * (1 - sparsity) - 1e-9))
        return NM(n, self.m, self.dim, self.at_end) if n < self.m else None

    def _ways_out(self) -> list[str]:
        return [f'NM({self.n}, {self.m}, dim={self.dim}, at_end="dense"): the last few stay whole']
