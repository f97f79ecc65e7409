"""Res2Net: a bottleneck whose middle is split into scales that feed one another."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bottle2neck(nn.Module):
    expansion = 2

    def __init__(self, inplanes: int, planes: int, stride: int, scale: int = 4) -> None:
        super().__init__()
        width = planes // 2
        self.conv1 = nn.Conv2d(inplanes, width * scale, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * scale)
        self.nums = scale - 1
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride, 1, bias=False) for _ in range(self.nums)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(self.nums))
        self.conv3 = nn.Conv2d(width * scale, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.is_first = stride > 1 or inplanes != planes * self.expansion
        self.pool = nn.AvgPool2d(3, stride, 1) if self.is_first else None
        self.downsample = (
            nn.Sequential(
                nn.AvgPool2d(stride, stride),
                nn.Conv2d(inplanes, planes * self.expansion, 1, bias=False),
                nn.BatchNorm2d(planes * self.expansion),
            )
            if self.is_first
            else None
        )
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        spx = torch.split(out, self.width, 1)
        sp = spx[0]
        pieces = []
        for i in range(self.nums):
            sp = sp + spx[i] if i > 0 and not self.is_first else spx[i]
            sp = self.relu(self.bns[i](self.convs[i](sp)))
            pieces.append(sp)
        last = spx[self.nums]
        pieces.append(last if self.pool is None else self.pool(last))
        out = self.bn3(self.conv3(torch.cat(pieces, 1)))
        out += residual
        return self.relu(out)


class Res2Net(nn.Module):
    """Two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Bottle2neck(16, 16, 1), Bottle2neck(32, 16, 1))
        self.layer2 = nn.Sequential(Bottle2neck(32, 24, 2), Bottle2neck(48, 24, 1))
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        return self.fc(x.mean(3).mean(2))


def res2net() -> nn.Module:
    return Res2Net()
