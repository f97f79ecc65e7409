"""Attention by einsum over weights that carry their heads; bare parameters only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class EinsumAttention(nn.Module):
    def __init__(self, d_model: int, heads: int, d_head: int) -> None:
        super().__init__()
        self.wq = nn.Parameter(torch.randn(d_model, heads, d_head) / math.sqrt(d_model))
        self.wk = nn.Parameter(torch.randn(d_model, heads, d_head) / math.sqrt(d_model))
        self.wv = nn.Parameter(torch.randn(d_model, heads, d_head) / math.sqrt(d_model))
        self.wo = nn.Parameter(torch.randn(heads, d_head, d_model) / math.sqrt(d_model))
        self.bias_v = nn.Parameter(torch.zeros(heads, d_head))

    def forward(self, x: Tensor) -> Tensor:
        q = torch.einsum("btd,dhk->bhtk", x, self.wq)
        k = torch.einsum("btd,dhk->bhtk", x, self.wk)
        v = torch.einsum("btd,dhk->bhtk", x, self.wv) + self.bias_v[:, None]
        scores = torch.einsum("bhik,bhjk->bhij", q, k) / math.sqrt(q.shape[-1])
        return torch.einsum("bhij,bhjk,hkd->bid", scores.softmax(-1), v, self.wo)


class LinearAttention(nn.Module):
    """Kernel feature maps instead of a softmax: keys meet values first."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.to_out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (t.view(b, n, self.heads, -1) for t in self.to_qkv(x).chunk(3, dim=-1))
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        context = torch.einsum("bnhd,bnhe->bhde", k, v)
        norm = 1 / torch.einsum("bnhd,bhd->bnh", q, k.sum(dim=1))
        out = torch.einsum("bhde,bnhd,bnh->bnhe", context, q, norm)
        return self.to_out(out.reshape(b, n, -1))


class EinsumTransformer(nn.Module):
    """Softmax attention, then linear attention, with squared-ReLU feed-forwards."""

    def __init__(self, d_model: int = 32, d_ff: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(6, d_model)
        self.attn1 = EinsumAttention(d_model, 4, 6)
        self.attn2 = LinearAttention(d_model, 4)
        self.w1 = nn.Parameter(torch.randn(2, d_model, d_ff) / math.sqrt(d_model))
        self.w2 = nn.Parameter(torch.randn(2, d_ff, d_model) / math.sqrt(d_ff))
        self.head = nn.Linear(d_model, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for i, attn in enumerate((self.attn1, self.attn2)):
            x = x + attn(x)
            hidden = torch.einsum("btd,df->btf", x, self.w1[i]).relu().square()
            x = x + torch.einsum("btf,fd->btd", hidden, self.w2[i])
        return self.head(x.mean(1))


def einsum_attention() -> nn.Module:
    return EinsumTransformer()
