"""MLP-Mixer (token mixing through a transposition) and ResMLP (affine instead of norm, bare parameters)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, in_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class MixerBlock(nn.Module):
    def __init__(self, dim: int, seq_len: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mlp_tokens = Mlp(seq_len, dim // 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp_channels = Mlp(dim, dim * 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class Affine(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones((1, 1, dim)))
        self.beta = nn.Parameter(torch.zeros((1, 1, dim)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.beta, self.alpha, x)


class ResBlock(nn.Module):
    def __init__(self, dim: int, seq_len: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Affine(dim), Affine(dim)
        self.linear_tokens = nn.Linear(seq_len, seq_len)
        self.mlp_channels = Mlp(dim, dim * 4)
        self.ls1 = nn.Parameter(1e-4 * torch.ones(dim))
        self.ls2 = nn.Parameter(1e-4 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1 * self.linear_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.ls2 * self.mlp_channels(self.norm2(x))


class Mixer(nn.Module):
    """Patches, blocks, mean over tokens."""

    def __init__(
        self, block: type[MixerBlock] | type[ResBlock], dim: int = 32, depth: int = 2, grid: int = 4
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, kernel_size=32 // grid, stride=32 // grid)
        self.blocks = nn.Sequential(*[block(dim, grid * grid) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim) if block is MixerBlock else Affine(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


def mlp_mixer() -> nn.Module:
    return Mixer(MixerBlock)


def res_mlp() -> nn.Module:
    return Mixer(ResBlock)
