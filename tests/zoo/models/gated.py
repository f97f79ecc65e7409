"""Gates: gMLP (spatial gating unit), gated convolutions, a highway net, a coupling flow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpatialGatingUnit(nn.Module):
    def __init__(self, d_ffn: int, seq_len: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_ffn)
        self.spatial_proj = nn.Conv1d(seq_len, seq_len, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        u, v = x.chunk(2, dim=-1)
        return u * self.spatial_proj(self.norm(v))


class GMLPBlock(nn.Module):
    def __init__(self, d_model: int, d_ffn: int, seq_len: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.channel_proj1 = nn.Linear(d_model, d_ffn * 2)
        self.channel_proj2 = nn.Linear(d_ffn, d_model)
        self.sgu = SpatialGatingUnit(d_ffn, seq_len)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.channel_proj2(self.sgu(F.gelu(self.channel_proj1(self.norm(x)))))


class GMLP(nn.Module):
    """Two blocks over tokens."""

    def __init__(self, vocabulary: int = 64, d_model: int = 24, d_ffn: int = 32, seq_len: int = 10) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, d_model)
        self.model = nn.Sequential(*[GMLPBlock(d_model, d_ffn, seq_len) for _ in range(2)])
        self.head = nn.Linear(d_model, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.model(self.embed(x)).mean(1))


class GatedConvNet(nn.Module):
    """F.glu over the channels of causal convolutions, then a GEGLU feed-forward."""

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        self.fc_in = nn.Linear(6, channels)
        self.conv1 = nn.Conv1d(channels, 2 * channels, 3)
        self.conv2 = nn.Conv1d(channels, 2 * channels, 3)
        self.geglu = nn.Linear(channels, 2 * 40)
        self.fc_out = nn.Linear(40, channels)
        self.head = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc_in(x).transpose(1, 2)
        for conv in (self.conv1, self.conv2):
            h = h + F.glu(conv(F.pad(h, (2, 0))), dim=1)
        h = h.transpose(1, 2)
        value, gate = self.geglu(h).chunk(2, dim=-1)
        h = h + self.fc_out(value * F.gelu(gate))
        return self.head(h[:, -1])


class Highway(nn.Module):
    """Carry and transform gates; then maxout."""

    def __init__(self, width: int = 24, pieces: int = 3) -> None:
        super().__init__()
        self.pieces = pieces
        self.inp = nn.Linear(10, width)
        self.transform = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.gate = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.maxout = nn.Linear(width, 16 * pieces)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inp(x))
        for transform, gate in zip(self.transform, self.gate, strict=True):
            t = torch.sigmoid(gate(x))
            x = t * F.relu(transform(x)) + (1.0 - t) * x
        x = self.maxout(x).view(x.shape[0], -1, self.pieces).max(dim=-1).values
        return self.out(x)


class Coupling(nn.Module):
    """Affine coupling as flows have it: one half transforms the other, then halves change places."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.split = channels // 2
        self.net = nn.Sequential(nn.Linear(self.split, hidden), nn.LeakyReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        xa, xb = torch.tensor_split(x, 2, dim=-1)
        scale, shift = self.net(xa).split(self.split, dim=-1)
        xb = xb * torch.exp(torch.tanh(scale)) + shift
        return torch.cat([xa, xb], dim=-1).flip(-1)


class Flow(nn.Module):
    """A lifted, coupled, and projected vector; the lift makes the coupled channels cuttable."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.lift = nn.Linear(6, channels)
        self.steps = nn.Sequential(*[Coupling(channels, 24) for _ in range(3)])
        self.out = nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.steps(self.lift(x)))


def gmlp() -> nn.Module:
    return GMLP()


def gated_conv() -> nn.Module:
    return GatedConvNet()


def highway() -> nn.Module:
    return Highway()


def coupling_flow() -> nn.Module:
    return Flow()
