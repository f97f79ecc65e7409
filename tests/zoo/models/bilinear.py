"""Second order: nn.Bilinear, biaffine scores, a bilinear CNN, and deep sets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RelationScorer(nn.Module):
    """Biaffine scores of word pairs plus an nn.Bilinear of the pooled."""

    def __init__(self, dim: int = 12, hidden: int = 16, labels: int = 3) -> None:
        super().__init__()
        self.head, self.dep = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.weight = nn.Parameter(torch.randn(labels, hidden + 1, hidden) * 0.1)
        self.bilinear = nn.Bilinear(hidden, hidden, 20)
        self.out = nn.Linear(20, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, d = F.gelu(self.head(x)), F.gelu(self.dep(x))
        h1 = torch.cat([h, torch.ones_like(h[..., :1])], dim=-1)
        scores = torch.einsum("bxi,oij,byj->boxy", h1, self.weight, d)
        return scores, self.out(torch.tanh(self.bilinear(h.mean(1), d.mean(1))))


class BilinearCNN(nn.Module):
    """The Gram matrix of the features is classified: every pair of channels has a weight."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.width = width
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, width, 3, 2, 1), nn.ReLU()
        )
        self.fc = nn.Linear(width * width, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        n, c, h, w = x.size()
        x = x.view(n, c, h * w)
        x = torch.bmm(x, x.transpose(1, 2)) / (h * w)
        x = x.reshape(n, c * c)
        x = torch.sign(x) * torch.sqrt(torch.abs(x) + 1e-10)
        return self.fc(F.normalize(x))


class DeepSets(nn.Module):
    """A set encoder with several poolings joined, read twice by one module."""

    def __init__(self, hidden: int = 20) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(4, hidden), nn.CELU(), nn.Linear(hidden, hidden), nn.CELU())
        self.mix = nn.Linear(hidden, hidden)
        self.rho = nn.Sequential(nn.Linear(4 * hidden, 24), nn.CELU(), nn.Linear(24, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.phi(x)
        h = self.mix(h - h.mean(dim=1, keepdim=True))
        h = self.mix(h - h.amax(dim=1, keepdim=True))
        pooled = torch.hstack([h.mean(1), h.std(1), h.amax(1), torch.logsumexp(h, 1)])
        return self.rho(pooled)


def bilinear() -> nn.Module:
    return RelationScorer()


def bilinear_cnn() -> nn.Module:
    return BilinearCNN()


def deep_sets() -> nn.Module:
    return DeepSets()
