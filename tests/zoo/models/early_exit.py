"""Data-dependent control flow: what the net does depends on what it sees, so no single graph describes it."""

from __future__ import annotations

from torch import Tensor, nn


class EarlyExit(nn.Module):
    """Stops at the first head that is sure."""

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        self.threshold = threshold
        self.stage1 = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.exit1 = nn.Linear(12, 5)
        self.stage2 = nn.Sequential(nn.Conv2d(12, 20, 3, 2, 1), nn.BatchNorm2d(20), nn.ReLU())
        self.exit2 = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(x)
        first = self.exit1(x.mean((2, 3)))
        if first.softmax(-1).max(-1).values.min().item() > self.threshold:
            return first
        return self.exit2(self.stage2(x).mean((2, 3)))


def early_exit() -> nn.Module:
    return EarlyExit()
