"""MaxViT-like: MBConv, then attention inside blocks and across a dilated grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MBConv(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        mid = out * 2
        self.proj = (
            nn.Sequential(nn.AvgPool2d(stride, stride), nn.Conv2d(inp, out, 1))
            if stride > 1
            else nn.Identity()
        )
        self.pre_norm = nn.BatchNorm2d(inp)
        self.conv_a = nn.Sequential(nn.Conv2d(inp, mid, 1, bias=False), nn.BatchNorm2d(mid), nn.GELU())
        self.conv_b = nn.Sequential(
            nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False), nn.BatchNorm2d(mid), nn.GELU()
        )
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(mid, out // 4, 1),
            nn.SiLU(),
            nn.Conv2d(out // 4, mid, 1),
            nn.Sigmoid(),
        )
        self.conv_c = nn.Conv2d(mid, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        res = self.proj(x)
        x = self.conv_b(self.conv_a(self.pre_norm(x)))
        return res + self.conv_c(self.se(x) * x)


class RelativeAttention(nn.Module):
    """Queries, keys and values from one projection, cut apart by chunk; one bias per head and offset."""

    def __init__(self, dim: int, head_dim: int, size: int) -> None:
        super().__init__()
        self.n_heads = dim // head_dim
        self.head_dim = head_dim
        self.to_qkv = nn.Linear(dim, self.n_heads * self.head_dim * 3)
        self.scale_factor = dim**-0.5
        self.merge = nn.Linear(self.head_dim * self.n_heads, dim)
        self.register_buffer("relative_position_index", self._index(size))
        self.table = nn.Parameter(torch.randn((2 * size - 1) ** 2, self.n_heads) * 0.02)

    @staticmethod
    def _index(size: int) -> Tensor:
        grid = torch.arange(size)
        coords = torch.flatten(torch.stack(torch.meshgrid([grid, grid], indexing="ij")), 1)
        offset = coords[:, :, None] - coords[:, None, :] + size - 1
        return offset[0] * (2 * size - 1) + offset[1]

    def forward(self, x: Tensor) -> Tensor:
        B, G, P, _ = x.shape  # noqa: N806
        q, k, v = torch.chunk(self.to_qkv(x), 3, dim=-1)
        q = q.reshape(B, G, P, self.n_heads, self.head_dim).permute(0, 1, 3, 2, 4)
        k = k.reshape(B, G, P, self.n_heads, self.head_dim).permute(0, 1, 3, 2, 4) * self.scale_factor
        v = v.reshape(B, G, P, self.n_heads, self.head_dim).permute(0, 1, 3, 2, 4)
        dots = torch.einsum("B G H I D, B G H J D -> B G H I J", q, k)
        bias = self.table[self.relative_position_index.view(-1)].view(P, P, -1).permute(2, 0, 1).contiguous()
        out = torch.einsum(
            "B G H I J, B G H J D -> B G H I D", F.softmax(dots + bias.unsqueeze(0), dim=-1), v
        )
        return self.merge(out.permute(0, 1, 3, 2, 4).reshape(B, G, P, self.n_heads * self.head_dim))


class PartitionAttention(nn.Module):
    """Over blocks of p x p neighbours, or, with the two factors exchanged, over a grid of pixels p apart."""

    def __init__(self, dim: int, head_dim: int, p: int, size: int, grid: bool) -> None:
        super().__init__()
        self.p, self.grid = p, grid
        self.attn_norm = nn.LayerNorm(dim)
        self.attn = RelativeAttention(dim, head_dim, size)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim * 4), nn.GELU(), nn.Linear(dim * 4, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        p = self.p
        x = x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(b, (h // p) * (w // p), p * p, c)
        if self.grid:
            x = x.swapaxes(-2, -3)
        x = x + self.attn(self.attn_norm(x))
        x = x + self.mlp(x)
        if self.grid:
            x = x.swapaxes(-2, -3)
        x = x.reshape(b, h // p, w // p, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(b, c, h, w)


class MaxViT(nn.Module):
    """Two stages, at 8x8 and at 4x4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.GELU())
        self.blocks = nn.Sequential(
            MBConv(12, 16, 2),
            PartitionAttention(16, 8, 4, 4, grid=False),
            PartitionAttention(16, 8, 2, 4, grid=True),
            MBConv(16, 32, 2),
            PartitionAttention(32, 8, 2, 2, grid=False),
            PartitionAttention(32, 8, 2, 2, grid=True),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 32), nn.Tanh()
        )
        self.fc = nn.Linear(32, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.head(self.blocks(self.stem(x))))


def maxvit() -> nn.Module:
    return MaxViT()
