"""Sequence models beyond attention: a selective scan as a loop, and a retention layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelectiveScan(nn.Module):
    """Mamba in plain PyTorch: gated, causal depthwise convolution, input-dependent state transition."""

    def __init__(self, d_model: int, d_state: int = 4, expand: int = 2, dt_rank: int = 4) -> None:
        super().__init__()
        self.d_inner = expand * d_model
        self.d_state, self.dt_rank = d_state, dt_rank
        self.in_proj = nn.Linear(d_model, self.d_inner * 2, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, 3, groups=self.d_inner, padding=2)
        self.x_proj = nn.Linear(self.d_inner, dt_rank + d_state * 2, bias=False)
        self.dt_proj = nn.Linear(dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, d_state + 1).float()).repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        x, res = self.in_proj(x).split(split_size=[self.d_inner, self.d_inner], dim=-1)
        x = self.conv1d(x.transpose(1, 2))[:, :, :length].transpose(1, 2)
        x = F.silu(x)
        delta, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)  # noqa: N806
        delta = F.softplus(self.dt_proj(delta))
        A = -torch.exp(self.A_log.float())  # noqa: N806
        decay = torch.exp(delta.unsqueeze(-1) * A)
        inflow = delta.unsqueeze(-1) * B.unsqueeze(2) * x.unsqueeze(-1)
        state = torch.zeros((b, self.d_inner, self.d_state), dtype=x.dtype, device=x.device)
        ys = []
        for i in range(length):
            state = decay[:, i] * state + inflow[:, i]
            ys.append(torch.einsum("bdn,bn->bd", state, C[:, i]))
        y = torch.stack(ys, dim=1) + x * self.D
        return self.out_proj(y * F.silu(res))


class Retention(nn.Module):
    """Decaying linear attention, group norm over heads, swish gate."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.qkvg = nn.Linear(dim, 4 * dim, bias=False)
        self.group_norm = nn.GroupNorm(heads, dim)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.register_buffer("decay", 1 - 2.0 ** (-5 - torch.arange(heads).float()))

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v, g = self.qkvg(x).split(d, dim=-1)
        q, k, v = (a.view(b, t, self.heads, self.head_dim).transpose(1, 2) for a in (q, k, v))
        n = torch.arange(t, device=x.device)
        distance = (n[:, None] - n[None, :]).clamp(min=0)
        mask = torch.tril(self.decay.view(-1, 1, 1) ** distance)
        y = ((q @ k.transpose(-1, -2)) * mask * self.head_dim**-0.5) @ v
        y = y.transpose(1, 2).reshape(b * t, d)
        y = self.group_norm(y).view(b, t, d)
        return self.proj(y * F.silu(g))


class SequenceModel(nn.Module):
    """One selective scan, one retention layer."""

    def __init__(self, vocabulary: int = 64, dim: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.norm1, self.norm2 = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.ssm = SelectiveScan(dim)
        self.retention = Retention(dim, 4)
        self.lm_head = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        x = x + self.ssm(self.norm1(x))
        x = x + self.retention(self.norm2(x))
        return self.lm_head(x)


def selective_scan() -> nn.Module:
    return SequenceModel()
