"""What is below a threshold goes: one that is given, or one that a weight tensor sets for itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from penjing.compress.masks.rule import Layer, Order, Rule
from penjing.errors import PenjingError


class Threshold(Rule):
    """Groups whose score is less than a threshold go; one that equals it stays.

    For magnitude the score of a single weight is |w|, and that of a group the root of its mean square. With
    order "largest" as many go as are below the threshold, but the largest.
    """

    @abstractmethod
    def of(self, scores: Tensor) -> float:
        """The threshold for one weight's scores."""

    def counts(self, layers: Mapping[str, Layer]) -> dict[str, int]:
        """How many are below."""
        found = {}
        for name, layer in layers.items():
            below = layer.scores < self.of(layer.scores) if layer.scores.numel() else layer.scores.bool()
            found[name] = int((below if layer.gone is None else below | layer.gone).sum())
        return found


@final
@dataclass(frozen=True)
class Below(Threshold):
    """|w| < eps goes.

    Attributes:
        eps: more than 0, in the unit of the scores.
        order: what goes first.
    """

    eps: float
    order: Order = "smallest"

    def __post_init__(self) -> None:
        _positive("Below", self.eps)

    @property
    def words(self) -> str:
        """Such as `Below(0.01)`."""
        return f"Below({self.eps:g})"

    def of(self, scores: Tensor) -> float:
        """The same for all."""
        return self.eps


@final
@dataclass(frozen=True)
class BelowMaxOver(Threshold):
    """What is below the maximum of its weight tensor over n goes.

    Attributes:
        n: more than 0; the larger, the fewer go. With 1 only the maximum stays.
        order: what goes first.
    """

    n: float
    order: Order = "smallest"

    def __post_init__(self) -> None:
        _positive("BelowMaxOver", self.n)

    @property
    def words(self) -> str:
        """Such as `BelowMaxOver(20)`."""
        return f"BelowMaxOver({self.n:g})"

    def of(self, scores: Tensor) -> float:
        """The maximum over n."""
        return float(scores.max()) / self.n


@final
@dataclass(frozen=True)
class BelowMean(Threshold):
    """What is below a multiple of the mean of its weight tensor goes.

    Attributes:
        multiple: more than 0. For normally distributed weights 1 takes 57 %.
        order: what goes first.
    """

    multiple: float = 1.0
    order: Order = "smallest"

    def __post_init__(self) -> None:
        _positive("BelowMean", self.multiple)

    @property
    def words(self) -> str:
        """Such as `BelowMean(0.5)`."""
        return f"BelowMean({self.multiple:g})"

    def of(self, scores: Tensor) -> float:
        """The multiple of the mean."""
        return self.multiple * float(scores.mean())


def _positive(name: str, value: object) -> None:
    if not (isinstance(value, int | float) and 0 < value < float("inf")):
        raise PenjingError("PJ811", f"{name}({value!r}) is no threshold", because="it is more than 0")
