"""DCGAN: linear, view, transposed convolutions; the discriminator with pixel unshuffle and leaky ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    def __init__(self, nz: int = 16, ngf: int = 12) -> None:
        super().__init__()
        self.init_size = 4
        self.l1 = nn.Sequential(nn.Linear(nz, ngf * 4 * self.init_size**2))
        self.ngf = ngf
        self.main = nn.Sequential(
            nn.BatchNorm2d(ngf * 4),
            nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, groups=2, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        out = self.l1(z)
        out = out.view(out.shape[0], self.ngf * 4, self.init_size, self.init_size)
        return self.main(out)


class Discriminator(nn.Module):
    def __init__(self, ndf: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, ndf, 3, 1, 1)
        self.down = nn.PixelUnshuffle(2)
        self.main = nn.Sequential(
            nn.Conv2d(ndf * 4, ndf * 2, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(ndf * 2, affine=True),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 2, ndf * 4, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.adv_layer = nn.Linear(ndf * 4 * 8 * 8, 1)

    def forward(self, img: Tensor) -> Tensor:
        out = self.main(self.down(torch.relu(self.stem(img))))
        out = out.view(out.shape[0], -1)
        return self.adv_layer(out)


def dcgan_generator() -> nn.Module:
    return Generator()


def dcgan_discriminator() -> nn.Module:
    return Discriminator()
