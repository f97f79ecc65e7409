"""Image to image: style transfer (instance norm, AdaIN), and an unrolled denoiser."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvLayer(nn.Module):
    def __init__(self, i: int, o: int, kernel: int, stride: int, upsample: int | None = None) -> None:
        super().__init__()
        self.upsample = upsample
        self.reflection_pad = nn.ReflectionPad2d(kernel // 2)
        self.conv2d = nn.Conv2d(i, o, kernel, stride)
        self.norm = nn.InstanceNorm2d(o, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample:
            x = F.interpolate(x, mode="nearest", scale_factor=self.upsample)
        return self.norm(self.conv2d(self.reflection_pad(x)))


class StyleTransfer(nn.Module):
    """Content and style images share the encoder; statistics of the one are given to the other (AdaIN)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvLayer(3, 12, 5, 1), ConvLayer(12, 20, 3, 2)
        self.res1, self.res2 = ConvLayer(20, 20, 3, 1), ConvLayer(20, 20, 3, 1)
        self.deconv1 = ConvLayer(20, 12, 3, 1, upsample=2)
        self.deconv2 = nn.Conv2d(12, 3, 5, padding=2, padding_mode="reflect")

    def encode(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))))

    @staticmethod
    def adain(content: Tensor, style: Tensor) -> Tensor:
        c_mean, c_std = content.mean((2, 3), keepdim=True), content.std((2, 3), keepdim=True) + 1e-5
        s_std, s_mean = torch.std_mean(style, dim=(2, 3), keepdim=True)
        return (content - c_mean) / c_std * s_std + s_mean

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        y = self.adain(self.encode(content), self.encode(style))
        y = y + self.res2(F.relu(self.res1(y)))
        y = F.relu(self.deconv1(y))
        return torch.clamp(self.deconv2(y), -2.0, 2.0)


class Unrolled(nn.Module):
    """One residual cell applied four times with its own step size each: deep, and few parameters."""

    def __init__(self, width: int = 16, steps: int = 4) -> None:
        super().__init__()
        self.inp = nn.Conv2d(1, width, 3, padding=1)
        self.cell = nn.Sequential(
            nn.Conv2d(width, 24, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(24),
            nn.Hardtanh(),
            nn.Conv2d(24, width, 1),
        )
        self.step = nn.Parameter(torch.full((steps,), 0.5))
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        for i in range(self.step.shape[0]):
            h = h - self.step[i] * self.cell(h)
        return x - self.out(h)


def style_transfer() -> nn.Module:
    return StyleTransfer()


def unrolled_denoiser() -> nn.Module:
    return Unrolled()
