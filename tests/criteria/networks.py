"""Small networks in which axes are shared, composite, tied or carried twice by one tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.network import Network, trace


class Residual(nn.Module):
    """A stream that five tensors carry; `mix` carries it along both dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.mix = nn.Conv2d(6, 6, 3, padding=1)
        self.wide = nn.Conv2d(6, 10, 1)
        self.head = nn.Linear(10 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = x + self.mix(x)
        scores: Tensor = self.head(functional.relu(self.wide(x)).flatten(1))
        return scores


class TiedLanguageModel(nn.Module):
    """The embedding is the output layer, too; the dropout must be off when gradients are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.drop = nn.Dropout(0.5)
        self.up = nn.Linear(8, 12)
        self.down = nn.Linear(12, 8)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.drop(self.embed(tokens))
        x = x + self.down(functional.gelu(self.up(x)))
        scores: Tensor = self.out(x)
        return scores


class Counting(nn.Module):
    """Changes its buffers whenever it is called, in eval mode too: one in place, one by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 7)
        self.norm = nn.BatchNorm1d(7)
        self.last = nn.Linear(7, 3)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("latest", torch.zeros(7))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        self.calls.add_(1)
        self.latest = x.detach().mean(0)
        scores: Tensor = self.last(functional.relu(x))
        return scores


class TwoInputs(nn.Module):
    """Called with two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 6)
        self.right = nn.Linear(4, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        scores: Tensor = self.out(torch.tanh(self.left(left) * self.right(right)))
        return scores


def residual() -> Network:
    torch.manual_seed(0)
    return trace(Residual(), torch.randn(2, 1, 4, 4))


def images(batches: int, size: int = 5) -> list[tuple[Tensor, Tensor]]:
    """Batches of images and labels for `residual`."""
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 1, 4, 4, generator=generator), torch.randint(4, (size,), generator=generator))
        for _ in range(batches)
    ]


def tied() -> Network:
    torch.manual_seed(0)
    return trace(TiedLanguageModel(), torch.randint(11, (2, 5)))


def cross_entropy(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(outputs, batch[1])
