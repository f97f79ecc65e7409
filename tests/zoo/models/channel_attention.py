"""Channel and spatial attention: CBAM, ECA, selective kernels, non-local, coordinate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CBAM(nn.Module):
    """Channels by a shared MLP over average and maximum, then pixels by a 7x7 convolution."""

    def __init__(self, planes: int, reduction: int = 4) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(planes, planes // reduction), nn.ReLU())
        self.mlp.append(nn.Linear(planes // reduction, planes))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        avg = self.mlp(F.avg_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3))))
        mx = self.mlp(F.max_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3))))
        x = x * torch.sigmoid(avg + mx).unsqueeze(2).unsqueeze(3).expand_as(x)
        compressed = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.spatial(compressed))


class ECA(nn.Module):
    """A 1-d convolution along the channels: neighbours matter, so those channels must stay where they are."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        t = int(abs((math.log2(channels) + 1) / 2))
        k = t if t % 2 else t + 1
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel_size=k, padding=k // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.avg_pool(x)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * y.sigmoid().expand_as(x)


class SelectiveKernel(nn.Module):
    """Two receptive fields, mixed channel by channel with a softmax over the two."""

    def __init__(self, channels: int, paths: int = 2) -> None:
        super().__init__()
        self.paths = paths
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=i + 1, dilation=i + 1, groups=4, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for i in range(paths)
        )
        self.fc_reduce = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels // 2)
        self.fc_select = nn.Conv2d(channels // 2, channels * paths, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x_paths = torch.stack([op(x) for op in self.convs], dim=1)
        attn = x_paths.sum(1).mean((2, 3), keepdim=True)
        attn = self.fc_select(F.relu(self.bn(self.fc_reduce(attn))))
        B, C, H, W = attn.shape  # noqa: N806
        attn = torch.softmax(attn.view(B, self.paths, C // self.paths, H, W), dim=1)
        return torch.sum(x_paths * attn, dim=1)


class NonLocal(nn.Module):
    """Embedded Gaussian: pixels attend to pooled pixels; the last batch norm gates the whole."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inter_channels = channels // 2
        self.g = nn.Conv2d(channels, self.inter_channels, 1)
        self.theta = nn.Conv2d(channels, self.inter_channels, 1)
        self.phi = nn.Conv2d(channels, self.inter_channels, 1)
        self.w = nn.Sequential(nn.Conv2d(self.inter_channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        batch_size = x.size(0)
        pooled = F.max_pool2d(x, 2)
        g_x = self.g(pooled).view(batch_size, self.inter_channels, -1).permute(0, 2, 1)
        theta_x = self.theta(x).view(batch_size, self.inter_channels, -1).permute(0, 2, 1)
        phi_x = self.phi(pooled).view(batch_size, self.inter_channels, -1)
        y = torch.matmul(F.softmax(torch.matmul(theta_x, phi_x), dim=-1), g_x)
        y = y.permute(0, 2, 1).contiguous().view(batch_size, self.inter_channels, *x.size()[2:])
        return self.w(y) + x


class CoordinateAttention(nn.Module):
    """Pooled along each direction, joined, squeezed together, split again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        mid = max(8, channels // 4)
        self.conv1 = nn.Conv2d(channels, mid, 1)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv_h, self.conv_w = nn.Conv2d(mid, channels, 1), nn.Conv2d(mid, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        y = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)], dim=2)
        y = F.hardswish(self.bn1(self.conv1(y)))
        x_h, x_w = torch.split(y, [h, w], dim=2)
        return x * self.conv_h(x_h).sigmoid() * self.conv_w(x_w.permute(0, 1, 3, 2)).sigmoid()


class AttentiveNet(nn.Module):
    """Two convolutions before and one after each of the given modules, with a residual around it."""

    def __init__(self, *attention: type[nn.Module], width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.conv1 = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in attention)
        self.attention = nn.ModuleList(a(width) for a in attention)
        self.conv2 = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in attention)
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv1, attention, conv2 in zip(self.conv1, self.attention, self.conv2, strict=True):
            x = F.relu(x + conv2(attention(F.relu(conv1(x)))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def cbam() -> nn.Module:
    return AttentiveNet(CBAM, CBAM)


def eca() -> nn.Module:
    return AttentiveNet(ECA, ECA)


def selective_kernel() -> nn.Module:
    return AttentiveNet(SelectiveKernel, SelectiveKernel)


def non_local() -> nn.Module:
    return AttentiveNet(NonLocal, CoordinateAttention)
