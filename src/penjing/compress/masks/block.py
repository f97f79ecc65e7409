"""Blocks of any shape, whole slices, and kernels: groups of weights that lie side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from penjing.compress.masks.pattern import Pattern, Rest
from penjing.errors import PenjingError

WHOLE = -1
"""In the shape of a block: all of that dimension."""


@final
@dataclass(frozen=True)
class Block(Pattern):
    """Blocks of one shape.

    Attributes:
        shape: sizes along the first dimensions of a weight (outputs, inputs, ...) or along its last ones;
            `-1` for the whole of one. Dimensions that are not named have 1: `Block((4, 4))` takes 4 outputs
            by 4 inputs of a linear layer, and of every tap of a convolution.
        align: whether `shape` names the first dimensions ("leading") or the last ones ("trailing").
        at_end: what becomes of what is left over at the end of an axis: "refuse", or "dense", it stays.

    Raises:
        PenjingError: PJ811, there is no such block.

    Source: Gray, Radford and Kingma 2017, "GPU kernels for block-sparse weights"; Narang et al. 2017,
    arXiv:1711.02782.
    """

    shape: tuple[int, ...]
    align: Literal["leading", "trailing"] = "leading"
    at_end: Rest = "refuse"

    def __post_init__(self) -> None:
        if not self.shape or any(size < 1 and size != WHOLE for size in self.shape):
            raise PenjingError(
                "PJ811",
                f"there is no block of {self.shape}",
                because="its sizes are positive, or -1 for a whole dimension",
                tries=["Block((1, 4))", "Block((16, 1))"],
            )

    @property
    def name(self) -> str:
        """Such as `block 1x4`."""
        return "block " + "x".join("all" if size == WHOLE else str(size) for size in self.shape)

    @property
    def rest(self) -> Rest:
        """As `at_end`."""
        return self.at_end

    def misfit(self, shape: Sequence[int]) -> str:
        """Weights of fewer dimensions than the block has."""
        if len(shape) >= len(self.shape):
            return ""
        return f"it has {len(shape)} dimensions, and the block {len(self.shape)}"

    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The block, with 1 along the other dimensions."""
        others = (1,) * (len(shape) - len(self.shape))
        sizes = (*self.shape, *others) if self.align == "leading" else (*others, *self.shape)
        return tuple(own if size == WHOLE else size for size, own in zip(sizes, shape, strict=True))

    def _ways_out(self) -> list[str]:
        return [f'Block({self.shape}, at_end="dense"): what is left over stays whole']


@final
@dataclass(frozen=True)
class Rows(Pattern):
    """All weights at one index of a dimension: the weights of one output.

    They become zero, and the shape stays; to take units out for good is what `pj.prune` is for.

    Attributes:
        dim: 0, the outputs of linear layers and convolutions.
    """

    dim: int = 0

    @property
    def name(self) -> str:
        """`rows`."""
        return "rows" if self.dim == 0 else f"rows along {self.dim}"

    def misfit(self, shape: Sequence[int]) -> str:
        """Weights without that dimension."""
        return _without(shape, self.dim)

    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """One index of `dim`, all of the others."""
        return _slice(shape, self.dim)


@final
@dataclass(frozen=True)
class Columns(Pattern):
    """All weights that read one input.

    Attributes:
        dim: 1, the inputs of linear layers and convolutions.
    """

    dim: int = 1

    @property
    def name(self) -> str:
        """`columns`."""
        return "columns" if self.dim == 1 else f"columns along {self.dim}"

    def misfit(self, shape: Sequence[int]) -> str:
        """Weights without that dimension."""
        return _without(shape, self.dim)

    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """One index of `dim`, all of the others."""
        return _slice(shape, self.dim)


@final
@dataclass(frozen=True)
class Kernels(Pattern):
    """The taps of a convolution from one input channel to one output channel.

    Source: Mao et al. 2017, arXiv:1705.08922, "kernel-level" (2-D) granularity.
    """

    @property
    def name(self) -> str:
        """`kernels`."""
        return "kernels"

    def misfit(self, shape: Sequence[int]) -> str:
        """Matrices."""
        return "" if len(shape) > 2 else f"it has {len(shape)} dimensions: no kernels"

    def tile(self, shape: Sequence[int]) -> tuple[int, ...]:
        """All of the dimensions behind the first two."""
        return (1, 1, *shape[2:])


def _without(shape: Sequence[int], dim: int) -> str:
    return "" if -len(shape) <= dim < len(shape) else f"it has no dimension {dim}"


def _slice(shape: Sequence[int], dim: int) -> tuple[int, ...]:
    return tuple(1 if place == dim % len(shape) else size for place, size in enumerate(shape))
