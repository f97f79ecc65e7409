"""3-d convolutions: a (2+1)-d video ResNet, and a volumetric segmentation net."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv2Plus1D(nn.Sequential):
    def __init__(self, inp: int, out: int, mid: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(inp, mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(mid),
            nn.ReLU(inplace=True),
            nn.Conv3d(mid, out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )


class VideoBlock(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        mid = (inp * out * 27) // (inp * 9 + 3 * out)
        self.conv1 = nn.Sequential(
            Conv2Plus1D(inp, out, mid, stride), nn.BatchNorm3d(out), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(Conv2Plus1D(out, out, mid), nn.BatchNorm3d(out))
        self.downsample = nn.Sequential(nn.Conv3d(inp, out, 1, stride, bias=False), nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(self.conv1(x)) + self.downsample(x))


class VideoResNet(nn.Module):
    """Two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 8, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False),
            nn.BatchNorm3d(8),
            nn.ReLU(inplace=True),
        )
        self.layer1 = VideoBlock(8, 12, 1)
        self.layer2 = VideoBlock(12, 16, 2)
        self.avgpool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.fc = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.layer2(self.layer1(self.stem(x))))
        return self.fc(x.flatten(1))


class VNet(nn.Module):
    """Volumes in, volumes out; the shortcut of the first level repeats the input's one channel."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.conv1 = nn.Conv3d(1, width, 3, padding=1)
        self.in1 = nn.InstanceNorm3d(width, affine=True)
        self.down = nn.Conv3d(width, 2 * width, 2, stride=2)
        self.conv2 = nn.Conv3d(2 * width, 2 * width, 3, padding=1)
        self.bn2 = nn.BatchNorm3d(2 * width)
        self.up = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        self.act = nn.ELU()
        self.out = nn.Conv3d(2 * width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.in1(self.conv1(x)) + x.repeat(1, self.width, 1, 1, 1))
        d = self.act(self.down(h))
        d = self.act(self.bn2(self.conv2(d)) + d)
        u = self.act(self.up(d))
        return self.out(torch.cat((u, h), 1)).softmax(1)


def video_resnet() -> nn.Module:
    return VideoResNet()


def vnet() -> nn.Module:
    return VNet()
