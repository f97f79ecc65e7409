"""Mixtures of experts with dense routing: experts as modules, and experts as one stacked parameter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ModuleMoE(nn.Module):
    """All experts run; a softmax gate weighs them."""

    def __init__(self, dim: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)) for _ in range(experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = F.softmax(self.gate(x), dim=-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-2)
        return (weights.unsqueeze(-1) * outputs).sum(dim=-2)


class StackedMoE(nn.Module):
    """Stacked weights and batched products; the two best of a token are kept, the rest weighs zero."""

    def __init__(self, dim: int, hidden: int, experts: int, top_k: int = 2) -> None:
        super().__init__()
        self.router = nn.Linear(dim, experts, bias=False)
        self.w_in = nn.Parameter(torch.randn(experts, dim, 2 * hidden) * dim**-0.5)
        self.w_out = nn.Parameter(torch.randn(experts, hidden, dim) * hidden**-0.5)
        self.b_out = nn.Parameter(torch.zeros(experts, 1, dim))
        self.num_experts, self.top_k = experts, top_k

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        flat = x.reshape(-1, d)
        probs = self.router(flat).softmax(-1)
        top, index = torch.topk(probs, self.top_k, dim=-1)
        scores = torch.zeros_like(probs).scatter(1, index, top / top.sum(-1, keepdim=True))
        tiled = flat.repeat(self.num_experts, 1).view(self.num_experts, -1, d)
        gate, up = torch.bmm(tiled, self.w_in).chunk(2, dim=-1)
        out = torch.baddbmm(self.b_out, up * F.silu(gate), self.w_out)
        out = out * scores.t().reshape(self.num_experts, -1, 1)
        return out.sum(dim=0).view(b, t, d)


class MixtureNet(nn.Module):
    """One of each around a shared norm."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(5, dim)
        self.moe1, self.moe2 = ModuleMoE(dim, 24, 3), StackedMoE(dim, 20, 4)
        self.norm = nn.RMSNorm(dim)
        self.head = nn.Linear(dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.moe1(self.norm(x))
        x = x + self.moe2(self.norm(x))
        return self.head(x)


def moe_dense() -> nn.Module:
    return MixtureNet()
