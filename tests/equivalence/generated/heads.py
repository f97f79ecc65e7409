"""The ends of a generated network: everything not yet read becomes logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.equivalence.generated.sized import Sized


class SumHead(Sized):
    """Every value is pooled (or flattened) and has a linear layer of its own; their logits are added."""

    def __init__(self, features: Sequence[int], classes: int, how: tuple[str, ...]) -> None:
        super().__init__()
        self.how = how
        self.linears = nn.ModuleList(nn.Linear(c, classes) for c in features)

    def forward(self, *values: Tensor) -> Tensor:
        pooled = [pool(value, how) for value, how in zip(values, self.how, strict=True)]
        return torch.stack([linear(p) for linear, p in zip(self.linears, pooled, strict=True)]).sum(0)


class JoinHead(Sized):
    """All values are pooled and joined for one linear layer."""

    def __init__(self, features: Sequence[int], classes: int, how: tuple[str, ...]) -> None:
        super().__init__()
        self.how = how
        self.linear = nn.Linear(sum(features), classes)

    def forward(self, *values: Tensor) -> Tensor:
        return self.linear(torch.cat([pool(v, how) for v, how in zip(values, self.how, strict=True)], dim=1))


class DictHead(Sized):
    """Logits of the first value, and an embedding of the others."""

    def __init__(self, features: Sequence[int], classes: int, how: tuple[str, ...]) -> None:
        super().__init__()
        self.how = how
        self.classify = nn.Linear(features[0], classes)
        self.embed = nn.Linear(sum(features), 5)

    def forward(self, *values: Tensor) -> dict[str, Any]:
        pooled = [pool(value, how) for value, how in zip(values, self.how, strict=True)]
        return {"logits": self.classify(pooled[0]), "embedding": self.embed(torch.cat(pooled, -1)).tanh()}


def pool(value: Tensor, how: str) -> Tensor:
    """(b, features) from an image or tokens."""
    if how == "flatten":
        return value.flatten(1)
    if value.dim() == 4:
        return value.mean((2, 3)) if how == "mean" else value.amax(dim=(2, 3))
    return value.mean(1) if how == "mean" else value[:, 0]
