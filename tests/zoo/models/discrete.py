"""Choices inside a network: a vector-quantised autoencoder, a ranker; Fourier mixing; capsules."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VQVAE(nn.Module):
    """Each pixel's code is the nearest of a codebook."""

    def __init__(self, codes: int = 20, dim: int = 10) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, dim, 4, 2, 1))
        self.codebook = nn.Embedding(codes, dim)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(dim, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x).permute(0, 2, 3, 1).contiguous()
        flat = z.view(-1, z.shape[-1])
        e = self.codebook.weight
        d = flat.pow(2).sum(1, keepdim=True) + e.pow(2).sum(1) - 2 * flat @ e.t()
        indices = torch.argmin(d, dim=1)
        quantised = self.codebook(indices).view(z.shape)
        quantised = z + (quantised - z).detach()
        return self.decoder(quantised.permute(0, 3, 1, 2)), F.mse_loss(quantised.detach(), z)


class Ranker(nn.Module):
    """The best items by score are gathered in order; the others are masked by a where."""

    def __init__(self, features: int = 6, hidden: int = 20, keep: int = 4) -> None:
        super().__init__()
        self.item = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.score = nn.Linear(hidden, 1)
        self.position = nn.Parameter(torch.randn(keep, hidden) * 0.1)
        self.context = nn.Linear(hidden, 16)
        self.query = nn.Linear(hidden, 16)
        self.keep = keep
        self.register_buffer("minus", torch.tensor(-1e4))

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        h = self.item(items)
        scores = self.score(h).squeeze(-1)
        order = torch.argsort(scores, dim=1, descending=True)[:, : self.keep]
        best = torch.gather(h, 1, order.unsqueeze(-1).expand(-1, -1, h.shape[-1])) + self.position
        running = torch.cumsum(best, dim=1) / torch.arange(1, self.keep + 1, device=h.device).view(1, -1, 1)
        logits = torch.einsum("bkd,bnd->bkn", self.context(running), self.query(h))
        threshold = torch.sort(scores, dim=1).values[:, -self.keep].unsqueeze(1)
        chosen = torch.where((scores >= threshold).unsqueeze(1), logits, self.minus)
        return chosen.softmax(-1), scores


class FNet(nn.Module):
    """Tokens and features are mixed by a Fourier transform: units of the stream cannot be told apart."""

    def __init__(self, vocabulary: int = 50, dim: int = 16, hidden: int = 40) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.out = nn.Linear(dim, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        x = self.norm1(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)
        x = self.norm2(x + self.ff(x))
        return self.out(x.mean(1))


def squash(s: Tensor) -> Tensor:
    mag_sq = torch.sum(s**2, dim=-1, keepdim=True)
    return (mag_sq / (1.0 + mag_sq)) * (s / torch.sqrt(mag_sq + 1e-8))


class CapsNet(nn.Module):
    """Primary capsules are groups of channels at each pixel; three rounds of routing by agreement."""

    def __init__(self, capsules: int = 4, dim: int = 6, classes: int = 3, out_dim: int = 8) -> None:
        super().__init__()
        self.capsules, self.dim = capsules, dim
        self.conv = nn.Conv2d(1, 16, 5, 2)
        self.primary = nn.Conv2d(16, capsules * dim, 3, 2)
        self.w = nn.Parameter(torch.randn(1, capsules * 9, classes, out_dim, dim) * 0.2)
        self.read = nn.Linear(classes * out_dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        u = self.primary(F.relu(self.conv(x)))
        u = squash(u.view(u.size(0), self.capsules, self.dim, -1).permute(0, 1, 3, 2).flatten(1, 2))
        u_hat = (self.w @ u[:, :, None, :, None]).squeeze(-1)
        b = torch.zeros(*u_hat.shape[:3], 1, device=x.device, dtype=u_hat.dtype)
        for _ in range(2):
            c = F.softmax(b, dim=2)
            v = squash((c * u_hat).sum(dim=1, keepdim=True))
            b = b + (u_hat * v).sum(dim=-1, keepdim=True)
        v = squash((F.softmax(b, dim=2) * u_hat).sum(dim=1))
        return self.read(v.flatten(1))


def vq_vae() -> nn.Module:
    return VQVAE()


def ranker() -> nn.Module:
    return Ranker()


def fnet() -> nn.Module:
    return FNet()


def capsules() -> nn.Module:
    return CapsNet()
