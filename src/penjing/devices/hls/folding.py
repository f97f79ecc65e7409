"""How often hls4ml's layers use each of their multipliers: the reuse factor, and what follows from it.

A layer multiplies a vector of `n_in` by a matrix for `n_out`, at every position of its output. With a reuse
factor of R it has `n_in * n_out / R` multipliers and takes R cycles a position (Duarte et al. 2018,
arXiv:1804.06913; for convolutions Aarrestad et al. 2021, arXiv:2101.05108).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

SHUFFLE: Final = 6
"""Cycles a position that hls4ml itself counts for moving data, where it is given a target in cycles."""

BLOCK_BITS: Final = 36
"""Width of a block RAM."""

BLOCK_WORDS: Final = 1024
"""Depth of a block RAM at that width."""

BLOCK_BYTES: Final = BLOCK_BITS * BLOCK_WORDS // 8


@dataclass(frozen=True)
class Folded:
    """One layer of multiplications.

    Attributes:
        n_in: inputs of one output.
        n_out: outputs of one position.
        positions: of its output.
        reuse_factor: cycles in which each multiplier is used once.
    """

    n_in: int
    n_out: int
    positions: int
    reuse_factor: int

    @classmethod
    def within(cls, n_in: int, n_out: int, positions: int, multipliers: int) -> Folded:
        """The quickest that has at most so many multipliers; the smallest there is where none has."""
        return cls(n_in, n_out, positions, least_reuse(n_in, n_out, multipliers))

    @property
    def multipliers(self) -> int:
        """How many it has."""
        return self.n_in * self.n_out // self.reuse_factor

    @property
    def cycles(self) -> int:
        """From its first input to its last output."""
        return self.positions * (self.reuse_factor + SHUFFLE)

    def blocks(self, bits: int) -> int:
        """Block RAMs that hold its weights, of so many bits each.

        As hls4ml's own `VivadoMultiObjectiveEstimator` counts them, `n_in * n_out * bits / (R * 36)`; with
        words beyond the depth of a block, which it leaves out.
        """
        if self.reuse_factor == 1:
            return 0  # in registers
        wide = math.ceil(self.n_in * self.n_out * bits / (self.reuse_factor * BLOCK_BITS))
        return wide * math.ceil(self.reuse_factor / BLOCK_WORDS)


@lru_cache(maxsize=65536)
def least_reuse(n_in: int, n_out: int, multipliers: int) -> int:
    """The least reuse factor with at most so many multipliers, but no more than there can be.

    Only a divisor of `n_in`, or `n_in` times a divisor of `n_out`, is a reuse factor: what hls4ml's own check
    (`FPGABackend._validate_reuse_factor`) comes to.
    """
    least = n_in * n_out / multipliers
    valid = (*_divisors(n_in), *(n_in * share for share in _divisors(n_out)))
    return next(factor for factor in valid if factor >= least or factor == n_in * n_out)


@lru_cache(maxsize=4096)
def _divisors(number: int) -> tuple[int, ...]:
    small = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    return tuple(sorted({*small, *(number // one for one in small)}))
