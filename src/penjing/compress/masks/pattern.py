"""Which weights go together: groups of a weight, their scores, and what a decision on them means for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from penjing.errors import PenjingError

Rest = Literal["refuse", "dense"]
"""What becomes of the last indices of an axis that a pattern does not divide: an error, or they stay."""


class Pattern(ABC):
    """Cuts a weight into groups of one size that stay or go as a whole. Frozen; knows no layer types."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As it is written: `2:4`, `block 1x4`."""

    @abstractmethod
    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The size of a group along every dimension of a weight of that shape, which `misfit` allows."""

    def step(self, shape: Sequence[int]) -> tuple[int, ...]:
        """What every dimension has to be a multiple of; as the tile, unless groups compete in more."""
        return self.tile(shape)

    def misfit(self, shape: Sequence[int]) -> str:
        """Why weights of so many dimensions have no such groups; "" where they do."""
        return ""

    @property
    def rest(self) -> Rest:
        """What becomes of what is left over at the end of an axis."""
        return "refuse"

    def fixed(self, scores: Tensor) -> Tensor | None:
        """What of the groups stays, where the pattern alone decides; None where a rule does.

        Args:
            scores: as `groups` gives them.
        """
        return None

    def objection(self, shape: Sequence[int]) -> str:
        """Why the pattern does not suit a weight of that shape; "" where it does."""
        why = self.misfit(shape)
        if why:
            return why
        for dim, (size, step) in enumerate(zip(shape, self.step(shape), strict=True)):
            if self.rest == "refuse" and size % step:
                near = [str(one) for one in (size // step * step, (size // step + 1) * step) if one]
                return f"dimension {dim} has {size}, no multiple of {step}: {' or '.join(near)} would fit"
            if size < step:
                return f"dimension {dim} has {size}, less than the {step} of one group"
        return ""

    def size(self, shape: Sequence[int]) -> int:
        """How many weights one group has."""
        found = 1
        for size in self.tile(shape):
            found *= size
        return found

    def groups(self, scores: Tensor) -> Tensor:
        """The sums over groups.

        Args:
            scores: of every weight, shaped as the weight.

        Returns:
            Float64, the shape of the weight over the tile.

        Raises:
            PenjingError: PJ810, the pattern does not suit this shape.
        """
        tile = self._checked(scores.shape)
        part = scores[self._covered(scores.shape)].to(torch.float64)
        for dim, size in enumerate(tile):
            if size > 1:
                part = part.unflatten(dim, (-1, size)).sum(dim + 1)
        return part

    def expand(self, kept: Tensor, shape: Sequence[int]) -> Tensor:
        """The mask that says for every weight what was decided on its group.

        Args:
            kept: of every group, bool, shaped as `groups` gives them.
            shape: of the weight.

        Returns:
            Bool, of that shape; true stays. What no group covers stays.

        Raises:
            PenjingError: PJ810, the pattern does not suit this shape.
        """
        tile = self._checked(shape)
        for dim, size in enumerate(tile):
            if size > 1:
                kept = kept.repeat_interleave(size, dim)
        mask = torch.ones(tuple(shape), dtype=torch.bool, device=kept.device)
        mask[self._covered(shape)] = kept
        return mask

    def _covered(self, shape: Sequence[int]) -> tuple[slice, ...]:
        steps = self.step(shape)
        return tuple(slice(0, size // step * step) for size, step in zip(shape, steps, strict=True))

    def _checked(self, shape: Sequence[int]) -> tuple[int, ...]:
        why = self.objection(shape)
        if why:
            raise PenjingError(
                "PJ810",
                f"the pattern {self.name} does not suit a weight of {tuple(shape)}",
                because=why,
                tries=["leave that layer out: keep=[...]", "another pattern", *self._ways_out()],
            )
        return self.tile(shape)

    def _ways_out(self) -> list[str]:
        return []


@final
@dataclass(frozen=True)
class Unstructured(Pattern):
    """Every weight by itself."""

    @property
    def name(self) -> str:
        """`unstructured`."""
        return "unstructured"

    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """One weight."""
        return (1,) * len(shape)
