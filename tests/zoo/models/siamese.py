"""Towers that meet: a Siamese net (one module called twice), two towers, a DLRM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Siamese(nn.Module):
    """One encoder for both images; the absolute difference is judged."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(12, 20, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(20 * 6 * 6, 32),
            nn.Sigmoid(),
        )
        self.fc = nn.Linear(32, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        dis = torch.abs(self.encoder(a) - self.encoder(b))
        return self.fc(dis)


class Tower(nn.Module):
    def __init__(self, size: int, dim: int, out: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)
        self.mlp = nn.Sequential(nn.Linear(dim + 4, 48), nn.ReLU(), nn.Linear(48, out))

    def forward(self, ids: Tensor, features: Tensor) -> Tensor:
        return F.normalize(self.mlp(torch.cat([self.embedding(ids), features], dim=-1)), dim=-1)


class TwoTower(nn.Module):
    """Users and items; every user with every item, and a learned temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = Tower(50, 16, 24), Tower(80, 12, 24)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, user: Tensor, user_x: Tensor, item: Tensor, item_x: Tensor) -> dict[str, Tensor]:
        u, i = self.user(user, user_x), self.item(item, item_x)
        return {"scores": (u * i).sum(-1), "logits": self.logit_scale.exp() * u @ i.t()}


class DLRM(nn.Module):
    """Bags of sparse ids and dense features interact pairwise; the strict lower triangle goes on."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, dim), nn.ReLU())
        self.bags = nn.ModuleList(nn.EmbeddingBag(n, dim, mode="sum") for n in (30, 40))
        rows, cols = torch.tril_indices(3, 3, offset=-1)
        self.register_buffer("rows", rows)
        self.register_buffer("cols", cols)
        self.top = nn.Sequential(nn.Linear(dim + 3, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, dense: Tensor, sparse_a: Tensor, sparse_b: Tensor) -> Tensor:
        x = self.bottom(dense)
        vectors = [x, self.bags[0](sparse_a), self.bags[1](sparse_b)]
        t = torch.stack(vectors, dim=1)
        z = torch.bmm(t, t.transpose(1, 2))
        flat = z[:, self.rows, self.cols]
        return torch.sigmoid(self.top(torch.cat([x, flat], dim=1))).squeeze(1)


def siamese() -> nn.Module:
    return Siamese()


def two_tower() -> nn.Module:
    return TwoTower()


def dlrm() -> nn.Module:
    return DLRM()
