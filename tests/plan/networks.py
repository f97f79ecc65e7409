"""Networks to plan for: small enough to count by hand, or from the zoo."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing import criteria
from penjing.criteria import Magnitude, Random
from penjing.network import Network, trace
from tests.zoo.registry import ENTRIES

ZOO = {entry.name: entry for entry in ENTRIES}


class Perceptron(nn.Module):
    """Three layers: two axes that may be cut, `first` (20) and `second` (10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 20, bias=False)
        self.second = nn.Linear(20, 10, bias=False)
        self.third = nn.Linear(10, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.third(functional.relu(self.second(functional.relu(self.first(x)))))
        return scores


@functools.cache
def perceptron() -> Network:
    torch.manual_seed(0)
    return trace(Perceptron(), torch.randn(1, 6))


@functools.cache
def zoo(name: str) -> Network:
    return trace(ZOO[name].build(), ZOO[name].inputs())


def magnitudes(net: Network) -> dict[str, Tensor]:
    return criteria.score(net, Magnitude())


def randoms(net: Network, seed: int = 0) -> dict[str, Tensor]:
    return criteria.score(net, Random(seed))
