"""Weights that are computed: conditional and modulated convolutions, spectral norm, standardised ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class CondConv2d(nn.Module):
    """A kernel per sample, mixed from experts; one grouped convolution runs the whole batch."""

    def __init__(self, in_channels: int, out_channels: int, num_experts: int = 3) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.routing = nn.Linear(in_channels, num_experts)
        self.weight = nn.Parameter(torch.randn(num_experts, out_channels, in_channels, 3, 3) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        mix = torch.sigmoid(self.routing(x.mean((2, 3))))
        weight = torch.einsum("be,eoikl->boikl", mix, self.weight).reshape(b * self.out_channels, c, 3, 3)
        out = F.conv2d(x.reshape(1, b * c, h, w), weight, padding=1, groups=b)
        return out.view(b, self.out_channels, h, w)


class CondConvNet(nn.Module):
    """Two conditional convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, 2, 1)
        self.cond1, self.bn1 = CondConv2d(12, 16), nn.BatchNorm2d(16)
        self.cond2, self.bn2 = CondConv2d(16, 16), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.cond1(F.relu(self.stem(x)))))
        x = x + F.relu(self.bn2(self.cond2(x)))
        return self.fc(x.mean((2, 3)))


class ModulatedConv2d(nn.Module):
    """Weights are scaled by a style per input channel, then normalised per output channel."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, demodulate: bool = True) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.scale = (in_channels * 9) ** -0.5
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, 3, 3))
        self.modulation = nn.Linear(style_dim, in_channels)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        batch, in_channels, height, width = x.shape
        style = self.modulation(style).view(batch, 1, in_channels, 1, 1) + 1.0
        weight = self.scale * self.weight * style
        if self.demodulate:
            demod = torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8)
            weight = weight * demod.view(batch, self.out_channels, 1, 1, 1)
        weight = weight.view(batch * self.out_channels, in_channels, 3, 3)
        x = x.view(1, batch * in_channels, height, width)
        out = F.conv2d(x, weight, padding=1, groups=batch)
        return out.view(batch, self.out_channels, height, width)


class StyleGenerator(nn.Module):
    """Mapping network, a constant input that is a parameter, noise as a buffer, skips to RGB."""

    def __init__(self, z_dim: int = 12, style_dim: int = 16) -> None:
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(z_dim, 24), nn.LeakyReLU(0.2), nn.Linear(24, style_dim))
        self.const = nn.Parameter(torch.randn(1, 20, 4, 4))
        self.conv1 = ModulatedConv2d(20, 16, style_dim)
        self.conv2 = ModulatedConv2d(16, 12, style_dim)
        self.to_rgb1 = ModulatedConv2d(16, 3, style_dim, demodulate=False)
        self.to_rgb2 = ModulatedConv2d(12, 3, style_dim, demodulate=False)
        self.noise_weight = nn.Parameter(torch.zeros(1))
        self.bias1, self.bias2 = nn.Parameter(torch.zeros(16)), nn.Parameter(torch.zeros(12))
        self.register_buffer("noise", torch.randn(1, 1, 8, 8))

    def forward(self, z: Tensor) -> Tensor:
        z = z * torch.rsqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8)
        style = self.mapping(z)
        x = self.const.repeat(z.shape[0], 1, 1, 1)
        x = F.leaky_relu(self.conv1(x, style) + self.bias1.view(1, -1, 1, 1), 0.2)
        rgb = self.to_rgb1(x, style)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.conv2(x, style) + self.noise_weight * self.noise
        x = F.leaky_relu(x + self.bias2.view(1, -1, 1, 1), 0.2)
        rgb = F.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False)
        return rgb + self.to_rgb2(x, style)


class SpectralCritic(nn.Module):
    """Spectral norm as a parametrisation; a projection of the class embedding onto the features."""

    def __init__(self, classes: int = 6, width: int = 12) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(3, width, 3, 2, 1))
        self.conv2 = spectral_norm(nn.Conv2d(width, 2 * width, 3, 2, 1))
        self.linear = spectral_norm(nn.Linear(2 * width, 1))
        self.embed = nn.Embedding(classes, 2 * width)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.1)), 0.1).sum((2, 3))
        return self.linear(h).squeeze(1) + (self.embed(label) * h).sum(1)


class StdConv2d(nn.Conv2d):
    """Every filter is standardised before use."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        v, m = torch.var_mean(w, dim=[1, 2, 3], keepdim=True, unbiased=False)
        w = (w - m) / torch.sqrt(v + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class StandardisedNet(nn.Module):
    """Weight standardisation, as BiT and normaliser-free nets have it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = StdConv2d(3, 12, 3, 2, 1, bias=False)
        self.gn = nn.GroupNorm(4, 12)
        self.conv1, self.conv2 = StdConv2d(12, 16, 1), StdConv2d(16, 12, 3, padding=1)
        self.alpha = nn.Parameter(torch.zeros(12, 1, 1))
        self.head = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.root(x)
        x = x + self.alpha * self.conv2(F.relu(self.conv1(F.relu(self.gn(x)))))
        return self.head(F.adaptive_avg_pool2d(F.relu(x), 1))[..., 0, 0]


def cond_conv() -> nn.Module:
    return CondConvNet()


def style_generator() -> nn.Module:
    return StyleGenerator()


def spectral_critic() -> nn.Module:
    return SpectralCritic()


def standardised() -> nn.Module:
    return StandardisedNet()
