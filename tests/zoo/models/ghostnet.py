"""GhostNet: half of the channels are cheap depthwise copies of the other half, then sliced to size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GhostModule(nn.Module):
    def __init__(self, inp: int, oup: int, ratio: int = 2, relu: bool = True) -> None:
        super().__init__()
        self.oup = oup
        init_channels = math.ceil(oup / ratio)
        new_channels = init_channels * (ratio - 1)
        self.primary_conv = nn.Sequential(
            nn.Conv2d(inp, init_channels, 1, bias=False),
            nn.BatchNorm2d(init_channels),
            nn.ReLU(inplace=True) if relu else nn.Sequential(),
        )
        self.cheap_operation = nn.Sequential(
            nn.Conv2d(init_channels, new_channels, 3, 1, 1, groups=init_channels, bias=False),
            nn.BatchNorm2d(new_channels),
            nn.ReLU(inplace=True) if relu else nn.Sequential(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary_conv(x)
        x2 = self.cheap_operation(x1)
        out = torch.cat([x1, x2], dim=1)
        return out[:, : self.oup, :, :]


class GhostBottleneck(nn.Module):
    def __init__(self, inp: int, mid: int, out: int, stride: int, ratio: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.ghost1 = GhostModule(inp, mid, ratio, relu=True)
        if stride > 1:
            self.conv_dw = nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False)
            self.bn_dw = nn.BatchNorm2d(mid)
        self.ghost2 = GhostModule(mid, out, ratio, relu=False)
        if inp == out and stride == 1:
            self.shortcut = nn.Sequential()
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False),
                nn.BatchNorm2d(inp),
                nn.Conv2d(inp, out, 1, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        x = self.ghost1(x)
        if self.stride > 1:
            x = self.bn_dw(self.conv_dw(x))
        x = self.ghost2(x)
        return x + self.shortcut(residual)


class GhostNet(nn.Module):
    """Odd widths on purpose: the slice then cuts a copy off."""

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 12, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.blocks = nn.Sequential(
            GhostBottleneck(12, 24, 12, 1, ratio),
            GhostBottleneck(12, 36, 19, 2, ratio),
            GhostBottleneck(19, 45, 19, 1, ratio),
        )
        self.conv_head = nn.Conv2d(19, 48, 1)
        self.classifier = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv_stem(x)))
        x = F.adaptive_avg_pool2d(self.blocks(x), 1)
        x = F.relu(self.conv_head(x))
        return self.classifier(x.view(x.size(0), -1))


def ghostnet() -> nn.Module:
    return GhostNet(ratio=2)


def ghostnet_ratio_three() -> nn.Module:
    return GhostNet(ratio=3)
