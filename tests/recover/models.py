"""Small real models and data that recovery is tried on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Data = list[tuple[Tensor, Tensor]]


class Classifier(nn.Module):
    """Two layers with a batch norm and a dropout between them."""

    def __init__(self, inputs: int = 6, hidden: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.drop = nn.Dropout(0.1)
        self.last = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(self.first(x)).relu()))


def classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier()


def clusters(batches: int = 12, size: int = 32, *, seed: int = 0) -> Data:
    """Points around one centre per class: a task that a linear model solves."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(3, 6, generator=torch.Generator().manual_seed(99))
    found = []
    for _ in range(batches):
        labels = torch.randint(3, (size,), generator=generator)
        found.append((centres[labels] + torch.randn(size, 6, generator=generator), labels))
    return found


def accuracy(model: nn.Module) -> float:
    data = clusters(4, 64, seed=7)
    with torch.no_grad():
        return sum(float((model(x).argmax(1) == y).float().mean()) for x, y in data) / len(data)
