"""Autoencoders: decoder weights that are the encoder's, transposed; a variational one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TiedAutoencoder(nn.Module):
    """Only the biases of the decoder are its own."""

    def __init__(self, n_in: int = 64, hidden: tuple[int, int] = (40, 24)) -> None:
        super().__init__()
        self.enc1, self.enc2 = nn.Linear(n_in, hidden[0]), nn.Linear(hidden[0], hidden[1])
        self.bias1 = nn.Parameter(torch.zeros(n_in))
        self.bias2 = nn.Parameter(torch.zeros(hidden[0]))

    def forward(self, x: Tensor) -> Tensor:
        h = F.selu(self.enc2(F.selu(self.enc1(x))))
        h = F.selu(F.linear(h, self.enc2.weight.t(), self.bias2))
        return F.linear(h, self.enc1.weight.t(), self.bias1)


class ConvVAE(nn.Module):
    """Means and log variances are chunks of one projection; in eval mode the mean is decoded."""

    def __init__(self, latent: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 20, 3, 2, 1), nn.ReLU()
        )
        self.to_stats = nn.Linear(20 * 4 * 4, 2 * latent)
        self.from_latent = nn.Linear(latent, 20 * 4 * 4)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (20, 4, 4)),
            nn.ConvTranspose2d(20, 12, 3, 2, 1, output_padding=1),
            nn.Softplus(),
            nn.ConvTranspose2d(12, 1, 3, 2, 1, output_padding=1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.to_stats(self.encoder(x).flatten(1)).chunk(2, dim=1)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar) if self.training else mu
        return self.decoder(self.from_latent(z)), mu, logvar


def autoencoder_tied() -> nn.Module:
    return TiedAutoencoder()


def vae() -> nn.Module:
    return ConvVAE()
