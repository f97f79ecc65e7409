"""Plain networks of every day: tabular, NeRF with a skip, actor-critic, a shared layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Tabular(nn.Module):
    """Categories are embedded, numbers normalised, all joined."""

    def __init__(
        self, sizes: tuple[tuple[int, int], ...] = ((12, 6), (5, 3), (30, 8)), numbers: int = 4
    ) -> None:
        super().__init__()
        self.embeds = nn.ModuleList(nn.Embedding(n, d) for n, d in sizes)
        self.bn_cont = nn.BatchNorm1d(numbers)
        width = sum(d for _, d in sizes) + numbers
        self.layers = nn.Sequential(
            nn.Linear(width, 40),
            nn.ReLU(),
            nn.BatchNorm1d(40),
            nn.Linear(40, 24),
            nn.ReLU(),
            nn.BatchNorm1d(24),
        )
        self.head = nn.Linear(24, 2)

    def forward(self, x_cat: Tensor, x_cont: Tensor) -> Tensor:
        x = torch.cat([e(x_cat[:, i]) for i, e in enumerate(self.embeds)] + [self.bn_cont(x_cont)], 1)
        return self.head(self.layers(x))


class NeRF(nn.Module):
    """Positional encoding, an input skip in the middle, density and colour heads; blocks are checkpointed."""

    def __init__(self, width: int = 32, bands: int = 4) -> None:
        super().__init__()
        self.register_buffer("bands", 2.0 ** torch.arange(bands))
        inp = 3 + 6 * bands
        self.block1 = nn.Sequential(nn.Linear(inp, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.block2 = nn.Sequential(nn.Linear(width + inp, width), nn.ReLU(), nn.Linear(width, width + 1))
        self.colour = nn.Sequential(
            nn.Linear(width + 3, width // 2), nn.ReLU(), nn.Linear(width // 2, 3), nn.Sigmoid()
        )

    def _encode(self, x: Tensor) -> Tensor:
        scaled = (x[..., None, :] * self.bands[:, None]).flatten(-2)
        return torch.cat([x, torch.sin(scaled), torch.cos(scaled)], dim=-1)

    def forward(self, position: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        x = self._encode(position)
        h = checkpoint(self.block1, x, use_reentrant=False)
        h = self.block2(torch.cat((h, x), dim=-1))
        sigma, h = torch.relu(h[..., 0]), h[..., 1:]
        return self.colour(torch.cat((h, direction), dim=-1)), sigma


class ActorCritic(nn.Module):
    """Frames through a small CNN, a dueling head: value plus advantage less its mean; uint8 in."""

    def __init__(self, actions: int = 4) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(4, 12, 4, stride=2), nn.ReLU(), nn.Conv2d(12, 16, 3, stride=2), nn.ReLU(), nn.Flatten()
        )
        self.fc = nn.Linear(16 * 3 * 3, 40)
        self.advantage, self.value = nn.Linear(40, actions), nn.Linear(40, 1)
        self.log_std = nn.Parameter(torch.zeros(1, actions))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.relu(self.fc(self.network(frames.float() / 255.0)))
        adv, val = self.advantage(h), self.value(h)
        q = val + adv - adv.mean(dim=1, keepdim=True)
        return q, val, self.log_std.expand_as(q).exp()


class UniversalTransformer(nn.Module):
    """A layer applied three times (ALBERT-like sharing); a frozen embedding, looked up under no_grad."""

    def __init__(self, vocabulary: int = 70, embed: int = 12, dim: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, embed)
        self.embed.weight.requires_grad_(False)
        self.project = nn.Linear(embed, dim)
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ff1, self.ff2 = nn.Linear(dim, 48), nn.Linear(48, dim)
        self.pool = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, 3)

    def _layer(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = (
            f(x).view(b, n, self.heads, d // self.heads).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        a = torch.matmul(q, k.transpose(2, 3)).div((d // self.heads) ** 0.5).softmax(-1)
        x = self.norm1(x + self.o(torch.matmul(a, v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.ff2(torch.relu(self.ff1(x))))

    def forward(self, ids: Tensor) -> Tensor:
        with torch.no_grad():
            e = self.embed(ids)
        x = self.project(e)
        for _ in range(3):
            x = self._layer(x)
        return self.out(torch.tanh(self.pool(x[:, 0])))


def tabular() -> nn.Module:
    return Tabular()


def nerf() -> nn.Module:
    return NeRF()


def actor_critic() -> nn.Module:
    return ActorCritic()


def universal_transformer() -> nn.Module:
    return UniversalTransformer()
