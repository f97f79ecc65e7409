"""Masks: which weights of a model stay, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from penjing.compress.masks import files
from penjing.errors import PenjingError


class MaskCount(BaseModel):
    """How much of one weight stays.

    Attributes:
        weights: how many there are.
        kept: how many of them stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: int
    kept: int

    @property
    def sparsity(self) -> float:
        """The share that is gone; 0 of none."""
        return 1 - self.kept / self.weights if self.weights else 0.0


@dataclass(frozen=True, eq=False)
class Masks(Mapping[str, Tensor]):
    """Parameter name -> bool tensor of its shape; true stays. Two are equal where all of it is.

    Attributes:
        tensors: by the parameter's dotted name in the model as it is without masks.

    Raises:
        PenjingError: PJ814, something is no bool tensor.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        given: Mapping[str, object] = self.tensors
        for name, mask in given.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                kind = str(mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
                raise PenjingError("PJ814", f"the mask of `{name}` is a {kind}", because="a mask is of bools")
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return self.keys() == other.keys() and all(torch.equal(self[name], other[name]) for name in self)

    __hash__ = None  # type: ignore[assignment]

    @property
    def counts(self) -> dict[str, MaskCount]:
        """By weight."""
        return {name: MaskCount(weights=mask.numel(), kept=int(mask.sum())) for name, mask in self.items()}

    @property
    def sparsity(self) -> float:
        """The share of all masked weights that is gone."""
        counts = self.counts.values()
        return MaskCount(
            weights=sum(one.weights for one in counts), kept=sum(one.kept for one in counts)
        ).sparsity

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        lines = [
            f"{name:<{width}}  {one.kept:>9} of {one.weights:<9}  {one.sparsity:.2%} zeros"
            for name, one in self.counts.items()
        ]
        return "\n".join(lines) or "no masks"

    def save(self, path: Path | str) -> Path:
        """Writes them into one file: `.safetensors`, a byte a weight, or `.json`, a bit a weight as text.

        Raises:
            PenjingError: PJ602, it cannot be written; PJ814, it ends otherwise.
        """
        return files.write(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> Masks:
        """Reads what `save` wrote.

        Raises:
            PenjingError: PJ814, there is no such file, or it holds no masks.
        """
        return cls(files.read(Path(path)))
