"""HRNet: parallel resolutions that exchange by strided convolution and by nearest upsampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + x)


class HighResolutionModule(nn.Module):
    """Branches, then every resolution is the sum of all, brought to its size."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.num_branches = len(channels)
        self.branches = nn.ModuleList(nn.Sequential(BasicBlock(c), BasicBlock(c)) for c in channels)
        self.fuse_layers = nn.ModuleList()
        for i in range(self.num_branches):
            row = nn.ModuleList()
            for j in range(self.num_branches):
                row.append(self._fuse(channels, i, j))
            self.fuse_layers.append(row)
        self.relu = nn.ReLU(inplace=True)

    @staticmethod
    def _fuse(channels: list[int], i: int, j: int) -> nn.Module:
        if j == i:
            return nn.Identity()
        if j > i:
            return nn.Sequential(
                nn.Conv2d(channels[j], channels[i], 1, bias=False),
                nn.BatchNorm2d(channels[i]),
                nn.Upsample(scale_factor=2 ** (j - i), mode="nearest"),
            )
        steps: list[nn.Module] = []
        for k in range(i - j):
            out = channels[i] if k == i - j - 1 else channels[j]
            steps += [nn.Conv2d(channels[j], out, 3, 2, 1, bias=False), nn.BatchNorm2d(out)]
            if k != i - j - 1:
                steps.append(nn.ReLU(inplace=True))
        return nn.Sequential(*steps)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        x = [branch(t) for branch, t in zip(self.branches, x, strict=True)]
        fused = []
        for i, row in enumerate(self.fuse_layers):
            y = x[0] if i == 0 else row[0](x[0])
            for j in range(1, self.num_branches):
                y = y + (x[j] if i == j else row[j](x[j]))
            fused.append(self.relu(y))
        return fused


class HRNet(nn.Module):
    """Three resolutions and a segmentation head over their concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True)
        )
        self.transition = nn.ModuleList(
            [
                nn.Identity(),
                nn.Sequential(
                    nn.Conv2d(12, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
                ),
                nn.Sequential(
                    nn.Conv2d(12, 20, 3, 4, 1, bias=False), nn.BatchNorm2d(20), nn.ReLU(inplace=True)
                ),
            ]
        )
        self.stage = HighResolutionModule([12, 16, 20])
        self.last_layer = nn.Sequential(
            nn.Conv2d(48, 48, 1), nn.BatchNorm2d(48), nn.ReLU(inplace=True), nn.Conv2d(48, 5, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.stage([t(x) for t in self.transition])
        size = y[0].shape[2:]
        up = [F.interpolate(t, size=size, mode="bilinear", align_corners=False) for t in y[1:]]
        return self.last_layer(torch.cat([y[0], *up], 1))


def hrnet() -> nn.Module:
    return HRNet()
