"""Where pixels come from: a spatial transformer, unpooling by remembered indices, unfolded neighbourhoods."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpatialTransformer(nn.Module):
    """A localisation net says by which affine map the features are read."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.localization = nn.Sequential(
            nn.Conv2d(1, 8, 5), nn.MaxPool2d(2, stride=2), nn.ReLU(True), nn.Conv2d(8, 10, 3), nn.ReLU(True)
        )
        self.fc_loc = nn.Sequential(nn.Linear(10 * 4 * 4, 16), nn.ReLU(True), nn.Linear(16, 3 * 2))
        self.conv = nn.Conv2d(width, 16, 3, stride=2)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        xs = self.localization(x)
        theta = self.fc_loc(xs.view(-1, 10 * 4 * 4)).view(-1, 2, 3)
        h = F.relu(self.stem(x))
        grid = F.affine_grid(theta, list(h.size()), align_corners=False)
        h = F.grid_sample(h, grid, align_corners=False)
        return self.fc(F.relu(self.conv(h)).mean((2, 3)))


class SegNet(nn.Module):
    """The decoder puts values back where the encoder's maxima were."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.bn1 = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.enc2, self.bn2 = nn.Conv2d(12, 20, 3, padding=1), nn.BatchNorm2d(20)
        self.pool = nn.MaxPool2d(2, 2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2, 2)
        self.dec2, self.bn3 = nn.Conv2d(20, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.dec1 = nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x, first = self.pool(F.relu(self.bn1(self.enc1(x))))
        x, second = self.pool(F.relu(self.bn2(self.enc2(x))))
        x = F.relu(self.bn3(self.dec2(self.unpool(x, second))))
        return self.dec1(self.unpool(x, first))


class Involution(nn.Module):
    """A kernel for every pixel, shared by the channels of a group, applied to unfolded neighbours."""

    def __init__(self, channels: int, kernel_size: int = 3, group_channels: int = 4) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.group_channels = group_channels
        self.groups = channels // group_channels
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 1), nn.BatchNorm2d(channels // 2), nn.ReLU()
        )
        self.span = nn.Conv2d(channels // 2, kernel_size**2 * self.groups, 1)
        self.unfold = nn.Unfold(kernel_size, 1, (kernel_size - 1) // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.span(self.reduce(x))
        b, _, h, w = weight.shape
        weight = weight.view(b, self.groups, self.kernel_size**2, h, w).unsqueeze(2)
        out = self.unfold(x).view(b, self.groups, self.group_channels, self.kernel_size**2, h, w)
        return (weight * out).sum(dim=3).view(b, self.groups * self.group_channels, h, w)


class RedNet(nn.Module):
    """Two involutions between pointwise convolutions; torch's own channel shuffle before them."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.shuffle = nn.ChannelShuffle(4)
        self.inv1, self.inv2 = Involution(width), Involution(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.fc = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shuffle(F.relu(self.stem(x)))
        x = x + self.conv1(F.relu(self.inv1(x)))
        x = x + self.conv2(F.relu(self.inv2(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def spatial_transformer() -> nn.Module:
    return SpatialTransformer()


def segnet() -> nn.Module:
    return SegNet()


def involution() -> nn.Module:
    return RedNet()
