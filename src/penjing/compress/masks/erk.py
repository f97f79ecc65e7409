"""Densities of layers by their shapes: Erdős–Rényi kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

from penjing.compress.masks.rule import Layer, Order, Rule
from penjing.compress.masks.share import checked_share


def erk(shapes: Mapping[str, Sequence[int]], sparsity: float) -> dict[str, float]:
    """The share of every weight that stays: small layers stay denser than large ones.

    The density is proportional to the sum of a weight's sizes over their product. Weights that would need
    more than all of theirs stay whole, and the others share what is left, until it works out.

    Args:
        shapes: of the weights, (outputs, inputs, ...); all of a convolution's dimensions count.
        sparsity: of all together, from 0 up to but not including 1.

    Returns:
        By name, more than 0 and at most 1; the mean, by number of weights, is `1 - sparsity`.

    Source: Evci et al. 2020 (RigL), arXiv:1911.11134, section 3, "Erdős-Rényi-Kernel", after Mocanu et al.
    2018, arXiv:1707.04780.
    """
    whole: set[str] = set()
    wanted = (1 - sparsity) * sum(prod(shape) for shape in shapes.values())
    while True:
        open_ = [name for name in shapes if name not in whole]
        left = wanted - sum(prod(shapes[name]) for name in whole)
        scale = left / total if (total := sum(sum(shapes[name]) for name in open_)) else 0.0
        raw = {name: scale * sum(shapes[name]) / prod(shapes[name]) for name in open_}
        over = [name for name, density in raw.items() if density > 1]
        if not over:
            return {name: 1.0 if name in whole else raw[name] for name in shapes}
        whole.update(over)


@final
@dataclass(frozen=True)
class ERK(Rule):
    """Of every weight as many groups go as its Erdős–Rényi-kernel density says.

    Attributes:
        target: sparsity of all weights together, from 0 up to but not including 1.
        order: what goes first.

    Raises:
        PenjingError: PJ811, the share is none.
    """

    target: float
    order: Order = "smallest"

    def __post_init__(self) -> None:
        checked_share(f"ERK({self.target!r})", self.target)

    @property
    def words(self) -> str:
        """Such as `ERK(0.9)`."""
        return f"ERK({self.target:g})"

    def counts(self, layers: Mapping[str, Layer]) -> dict[str, int]:
        """All but the density."""
        densities = erk({name: layer.shape for name, layer in layers.items()}, self.target)
        sizes = {name: layer.scores.numel() for name, layer in layers.items()}
        return {name: size - round(densities[name] * size) for name, size in sizes.items()}
