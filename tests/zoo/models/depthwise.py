"""Depthwise convolutions with a channel multiplier: an Xception-like net, and EEGNet."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SeparableConv2d(nn.Module):
    def __init__(self, inp: int, out: int, multiplier: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inp, inp * multiplier, 3, stride, 1, groups=inp, bias=False)
        self.pointwise = nn.Conv2d(inp * multiplier, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.conv1(x))


class Xception(nn.Module):
    """Multipliers two and three; one separable block with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.sep1 = SeparableConv2d(12, 20, 2)
        self.bn2 = nn.BatchNorm2d(20)
        self.sep2 = SeparableConv2d(20, 20, 3)
        self.bn3 = nn.BatchNorm2d(20)
        self.expand = nn.Conv2d(20, 40, 3, 2, 1, groups=20)
        self.fc = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.sep1(x))
        x = x + self.bn3(self.sep2(F.relu(x)))
        x = F.relu6(self.expand(x))
        return self.fc(F.adaptive_max_pool2d(x, 1).squeeze(-1).squeeze(-1))


class EEGNet(nn.Module):
    """Temporal filters, a spatial depthwise convolution with multiplier D, separable convolution, flatten."""

    def __init__(self, electrodes: int = 8, samples: int = 64, f1: int = 6, d: int = 2) -> None:
        super().__init__()
        f2 = f1 * d
        self.firstconv = nn.Sequential(
            nn.Conv2d(1, f1, (1, 15), padding=(0, 7), bias=False), nn.BatchNorm2d(f1)
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(f1, f1 * d, (electrodes, 1), groups=f1, bias=False),
            nn.BatchNorm2d(f1 * d),
            nn.ELU(),
            nn.AvgPool2d((1, 4)),
            nn.Dropout(0.25),
        )
        self.separable = nn.Sequential(
            nn.Conv2d(f1 * d, f1 * d, (1, 7), padding=(0, 3), groups=f1 * d, bias=False),
            nn.Conv2d(f1 * d, f2, 1, bias=False),
            nn.BatchNorm2d(f2),
            nn.ELU(),
            nn.AvgPool2d((1, 4)),
        )
        self.classify = nn.Linear(f2 * (samples // 16), 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.separable(self.depthwise(self.firstconv(x)))
        return self.classify(x.view(x.size(0), -1))


def xception() -> nn.Module:
    return Xception()


def eegnet() -> nn.Module:
    return EEGNet()
