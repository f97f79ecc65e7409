"""A share of the weights goes: of every weight tensor, of every row, or of all of them together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from penjing.compress.masks.rule import Layer, Order, Rule, first_gone
from penjing.errors import PenjingError

Scope = Literal["layer", "global", "row"]
"""What competes: the groups of one weight, those of all weights, or those of one output."""


@final
@dataclass(frozen=True)
class Sparsity(Rule):
    """A share of the weights becomes zero.

    Attributes:
        target: the share, from 0 up to but not including 1.
        scope: "layer" takes `round(target * groups)` of every weight; "row" of the groups of every output;
            "global" of all together, and never more weights than `round(target * weights)`.
        least: of scope "global": the share of its groups that every weight keeps, its best ones.
        order: what goes first.

    Raises:
        PenjingError: PJ811, a share is none.
    """

    target: float
    scope: Scope = "layer"
    least: float = 0.0
    order: Order = "smallest"

    def __post_init__(self) -> None:
        for name in ("target", "least"):
            checked_share(f"Sparsity({name}={getattr(self, name)!r})", getattr(self, name))

    @property
    def words(self) -> str:
        """Such as `Sparsity(0.9, "global")`."""
        return f'Sparsity({self.target:g}, "{self.scope}")'

    def counts(self, layers: Mapping[str, Layer]) -> dict[str, int]:
        """By layer, by row, or over all."""
        if self.scope == "global":
            return _counted_together(layers, self.target, self.least, self.order)
        if self.scope == "layer":
            return {name: round(self.target * layer.scores.numel()) for name, layer in layers.items()}
        return {
            name: len(layer.scores) * self._of_row(layer) if layer.scores.numel() else 0
            for name, layer in layers.items()
        }

    def chosen(self, layer: Layer, count: int) -> Tensor:
        """As of any rule; or as many of every row."""
        if self.scope != "row":
            return first_gone(layer.key(self.order), count).view(layer.scores.shape)
        flat = layer.key(self.order).view(len(layer.scores), -1)
        gone = flat.argsort(dim=1, stable=True)[:, : self._of_row(layer)]
        kept = torch.ones_like(flat, dtype=torch.bool).scatter_(1, gone, False)
        return kept.view(layer.scores.shape)

    def _of_row(self, layer: Layer) -> int:
        return round(self.target * (layer.scores.numel() // len(layer.scores)))


@final
@dataclass(frozen=True)
class KeepTop(Rule):
    """A share of the groups stays: `round(fraction * groups)` of them.

    Attributes:
        fraction: more than 0, at most 1.
        scope: "layer" or "global", where `round(fraction * weights)` weights or a little more stay.
        order: what goes first.

    Raises:
        PenjingError: PJ811, the share is none.
    """

    fraction: float
    scope: Literal["layer", "global"] = "layer"
    order: Order = "smallest"

    def __post_init__(self) -> None:
        checked_share(f"KeepTop({self.fraction!r})", 1 - self.fraction)

    @property
    def words(self) -> str:
        """Such as `KeepTop(0.1, "layer")`."""
        return f'KeepTop({self.fraction:g}, "{self.scope}")'

    def counts(self, layers: Mapping[str, Layer]) -> dict[str, int]:
        """All but those that stay."""
        if self.scope == "layer":
            sizes = {name: layer.scores.numel() for name, layer in layers.items()}
            return {name: size - round(self.fraction * size) for name, size in sizes.items()}
        total = sum(layer.scores.numel() * layer.size for layer in layers.values())
        return _counted_together(layers, (total - round(self.fraction * total)) / total, 0.0, self.order)


def checked_share(what: str, share: object) -> None:
    """Makes sure that a share of weights can go.

    Raises:
        PenjingError: PJ811, it is not from 0 up to but not including 1.
    """
    if not (isinstance(share, int | float) and 0 <= share < 1):
        raise PenjingError(
            "PJ811",
            f"{what} is no share of weights that can go",
            because="it is from 0 up to but not including 1",
            tries=["0.9: nine of ten go"],
        )


def _counted_together(
    layers: Mapping[str, Layer], target: float, least: float, order: Order
) -> dict[str, int]:
    """How many groups of each weight are among the first that go, of all weights together."""
    if not layers:
        return {}
    keys = []
    for layer in layers.values():
        key, safe = layer.key(order), math.ceil(least * layer.scores.numel() - 1e-9)
        keys.append(key.masked_fill(first_gone(key, len(key) - safe), torch.inf) if safe else key)
    sizes = [layer.size for layer in layers.values()]
    total = sum(len(key) * size for key, size in zip(keys, sizes, strict=True))
    allowed, joined = round(target * total), torch.cat(keys)
    if len(set(sizes)) == 1:
        gone = ~first_gone(joined, allowed // sizes[0])
    else:
        weights = torch.cat([torch.full((len(k),), size) for k, size in zip(keys, sizes, strict=True)])
        by = joined.argsort(stable=True)
        count = int((weights[by].cumsum(0) <= allowed).sum())
        gone = torch.zeros(len(joined), dtype=torch.bool).index_fill_(0, by[:count], True)
    gone &= joined != torch.inf
    parts = gone.split([len(key) for key in keys])
    return {name: int(part.sum()) for name, part in zip(layers, parts, strict=True)}
