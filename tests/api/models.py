"""A small convolutional network and a task that it can learn in a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import penjing as pj
from penjing.recover import Situation

Batch = tuple[Tensor, Tensor]


class Small(nn.Module):
    """Three convolutions with batch norms, a residual one among them, and a linear head."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.outer = nn.Conv2d(2 * width, width, 3, padding=1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.outer(self.inner(x).relu())).relu()
        return self.head(x.mean((2, 3)))


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small().eval()


def patterns(batches: int = 6, size: int = 32, *, seed: int = 0) -> list[Batch]:
    """Stripes of four kinds in noise."""
    generator = torch.Generator().manual_seed(seed)
    stripes = torch.zeros(4, 1, 12, 12)
    stripes[0, :, ::2], stripes[1, :, :, ::2], stripes[2, :, ::4] = 1, 1, 1
    stripes[3, :, :, ::4] = 1
    found = []
    for _ in range(batches):
        labels = torch.randint(4, (size,), generator=generator)
        noise = 0.5 * torch.randn(size, 1, 12, 12, generator=generator)
        found.append((stripes[labels] + noise, labels))
    return found


def loss(outputs: Tensor, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(outputs, batch[1])


def accuracy(model: nn.Module) -> float:
    data = patterns(2, 64, seed=9)
    with torch.no_grad():
        return sum(float((model(x).argmax(1) == y).float().mean()) for x, y in data) / len(data)


def trained() -> Small:
    """Nearly always right, after a few steps."""
    model = small()
    pj.FineTune(epochs=6, train=patterns(), lr=1e-2, loss="label").apply(model, situation(model))
    return model.eval()


def situation(model: nn.Module) -> Situation:

    return Situation(model, loss=loss)


def task() -> pj.Task:
    return pj.Task(
        model=trained(),
        example_inputs=patterns()[0][0][:1],
        train=patterns(),
        calibration=patterns(2),
        loss=loss,
        evaluate=accuracy,
    )
