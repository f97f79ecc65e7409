"""Vision transformers: class token or registers, fused qkv, with sdpa or attention by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    def __init__(self, img_size: int, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.num_patches = (img_size // patch_size) ** 2
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, fused: bool, qk_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.fused_attn = fused
        self.qkv = nn.Linear(dim, dim * 3)
        self.q_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.attn_drop = nn.Dropout(0.1)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape  # noqa: N806
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.fused_attn:
            x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop.p if self.training else 0.0)
        else:
            q = q * self.scale
            attn = q @ k.transpose(-2, -1)
            attn = self.attn_drop(attn.softmax(dim=-1))
            x = attn @ v
        return self.proj(x.transpose(1, 2).reshape(B, N, C))


class LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(1e-5 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, fused: bool, modern: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads, fused, qk_norm=modern)
        self.ls1 = LayerScale(dim) if modern else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim * 4), nn.GELU(), nn.Linear(dim * 4, dim))
        self.ls2 = LayerScale(dim) if modern else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """Class token, or registers and a mean over patches with a position table that is interpolated."""

    def __init__(self, fused: bool, modern: bool = False, dim: int = 32, num_heads: int = 4) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(32, 8, dim)
        self.num_prefix_tokens = 4 if modern else 1
        self.prefix = nn.Parameter(torch.zeros(1, self.num_prefix_tokens, dim))
        self.modern = modern
        tokens = 64 if modern else self.patch_embed.num_patches + 1
        self.pos_embed = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, num_heads, fused, modern) for _ in range(2)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def _pos_embed(self, x: Tensor) -> Tensor:
        B, N, C = x.shape  # noqa: N806
        prefix = self.prefix.expand(B, -1, -1)
        if not self.modern:
            return torch.cat((prefix, x), dim=1) + self.pos_embed
        side, want = int(self.pos_embed.shape[1] ** 0.5), int(N**0.5)
        table = self.pos_embed.reshape(1, side, side, C).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=(want, want), mode="bicubic", antialias=False)
        table = table.permute(0, 2, 3, 1).view(1, -1, C)
        return torch.cat([prefix, x + table], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self._pos_embed(self.patch_embed(x))))
        x = x[:, self.num_prefix_tokens :].mean(dim=1) if self.modern else x[:, 0]
        return self.head(x)


def vit() -> nn.Module:
    return VisionTransformer(fused=True)


def vit_manual_attention() -> nn.Module:
    return VisionTransformer(fused=False)


def vit_registers() -> nn.Module:
    return VisionTransformer(fused=True, modern=True)
