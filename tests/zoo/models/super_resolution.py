"""Super resolution: ESPCN, and an EDSR with scaled residuals and a mean shift."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ESPCN(nn.Module):
    """Sub-pixel convolution."""

    def __init__(self, upscale_factor: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 5, 1, 2)
        self.conv2 = nn.Conv2d(24, 16, 3, 1, 1)
        self.conv3 = nn.Conv2d(16, upscale_factor**2, 3, 1, 1)
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv2(torch.tanh(self.conv1(x))))
        return torch.sigmoid(self.pixel_shuffle(self.conv3(x)))


class ResBlock(nn.Module):
    def __init__(self, n_feats: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_feats, n_feats, 3, padding=1), nn.PReLU(), nn.Conv2d(n_feats, n_feats, 3, padding=1)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        res = self.body(x).mul(self.res_scale)
        res += x
        return res


class EDSR(nn.Module):
    """Pixel shuffles with convolutions after them, so that the shuffled channels go on."""

    def __init__(self, n_feats: int = 16) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.40]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, n_feats, 3, padding=1)
        self.body = nn.Sequential(
            ResBlock(n_feats, 0.1), ResBlock(n_feats, 0.1), nn.Conv2d(n_feats, n_feats, 3, padding=1)
        )
        self.upsampler = nn.Sequential(
            nn.Conv2d(n_feats, 4 * n_feats, 3, padding=1),
            nn.PixelShuffle(2),
            nn.PReLU(n_feats),
            nn.Conv2d(n_feats, 4 * 8, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x - self.mean)
        x = self.tail(self.upsampler(self.body(x) + x))
        return x + self.mean


def espcn() -> nn.Module:
    return ESPCN()


def edsr() -> nn.Module:
    return EDSR()
