"""Small networks of any width, to be measured and counted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

IMAGE = (1, 3, 16, 16)


class Residual(nn.Module):
    """A stem, a residual block and a head. Axes: `stem.0`, which is also the block's output, and `inner`."""

    def __init__(self, width: int = 32, inner: int = 48, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.inner = nn.Conv2d(width, inner, 3, padding=1)
        self.norm = nn.BatchNorm2d(inner)
        self.outer = nn.Conv2d(inner, width, 1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.outer(torch.relu(self.norm(self.inner(x)))) + x)
        return self.head(x.mean((2, 3)))


class Chain(nn.Module):
    """One layer after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def residual(counts: Mapping[str, int] | None = None) -> Residual:
    """The residual network at the given widths, seeded."""
    torch.manual_seed(0)
    counts = counts or {}
    return Residual(counts.get("stem.0", 32), counts.get("inner", 48)).eval()


def image(batch: int = 1) -> Tensor:
    """An image for it."""
    return torch.randn(batch, *IMAGE[1:], generator=torch.Generator().manual_seed(1))
