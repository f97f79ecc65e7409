"""LeNet-300-100 and LeNet-5 (the Caffe one, as in the papers on sparsity), and MNIST for them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.datasets import LabelledImages

BATCH = 128


class LeNet300(nn.Module):
    """Two hidden layers: 266,200 weights and 410 biases."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 300), nn.Linear(300, 100), nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())
        return scores


class LeNet5(nn.Module):
    """Two convolutions and two linear layers: 430,500 weights and 580 biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.fc1, self.fc2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv1(x), 2)
        x = functional.max_pool2d(self.conv2(x), 2)
        scores: Tensor = self.fc2(self.fc1(x.flatten(1)).relu())
        return scores


NETWORKS: dict[str, type[nn.Module]] = {"lenet-300-100": LeNet300, "lenet-5": LeNet5}


def inputs(images: Tensor) -> Tensor:
    """uint8 [n, 28, 28] -> float32 [n, 1, 28, 28], of mean 0 and deviation 1 over the training set."""
    return (images[:, None].float() / 255 - 0.1307) / 0.3081


class Shifted:
    """Batches of an epoch, every image moved by up to two pixels; another order and other moves each time."""

    def __init__(self, data: LabelledImages, seed: int, *, most: int = 2) -> None:
        self._x, self._y, self._most = inputs(data.images), data.labels.long(), most
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._x) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self._x), generator=self._generator)
        for place in range(len(self)):
            own = order[place * BATCH : (place + 1) * BATCH]
            yield self._moved(self._x[own]), self._y[own]

    def _moved(self, x: Tensor) -> Tensor:
        if not self._most:
            return x
        span = 2 * self._most + 1
        down, right = torch.randint(span, (2,), generator=self._generator).tolist()
        padded = functional.pad(x, [self._most] * 4, value=float(x.min()))
        return padded[..., down : down + 28, right : right + 28]


@torch.no_grad()
def error(model: nn.Module, data: LabelledImages) -> float:
    """Share of images that are told wrongly."""
    model.eval()
    found = torch.cat([model(part).argmax(1) for part in inputs(data.images).split(2000)])
    model.train()
    return float((found != data.labels).float().mean())
