"""Inception: parallel branches joined, factorised convolutions, an auxiliary head in training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicConv2d(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, **kwargs: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class InceptionA(nn.Module):
    def __init__(self, in_channels: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 16, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(in_channels, 12, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(12, 16, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 16, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(16, 24, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(24, 24, kernel_size=3, padding=1)
        self.branch_pool = BasicConv2d(in_channels, pool_features, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branch_pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([self.branch1x1(x), branch5x5, branch3x3dbl, branch_pool], 1)


class InceptionB(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(in_channels, 24, kernel_size=3, stride=2, padding=1)
        self.branch3x3stack = nn.Sequential(
            BasicConv2d(in_channels, 16, kernel_size=1),
            BasicConv2d(16, 24, kernel_size=3, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        return torch.cat([self.branch3x3(x), self.branch3x3stack(x), pooled], 1)


class InceptionC(nn.Module):
    def __init__(self, in_channels: int, c7: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 32, kernel_size=1)
        self.branch7x7_1 = BasicConv2d(in_channels, c7, kernel_size=1)
        self.branch7x7_2 = BasicConv2d(c7, c7, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7_3 = BasicConv2d(c7, 32, kernel_size=(7, 1), padding=(3, 0))

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.branch1x1(x), self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))]
        return torch.cat(outputs, 1)


class InceptionE(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(in_channels, 24, kernel_size=1)
        self.branch3x3_2a = BasicConv2d(24, 24, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3_2b = BasicConv2d(24, 24, kernel_size=(3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        branch3x3 = self.branch3x3_1(x)
        branch3x3 = [self.branch3x3_2a(branch3x3), self.branch3x3_2b(branch3x3)]
        return torch.cat([torch.cat(branch3x3, 1), x], 1)


class Inception(nn.Module):
    """A v3 in miniature."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = BasicConv2d(3, 16, kernel_size=3, stride=2, padding=1)
        self.mixed_5b = InceptionA(16, 8)
        self.mixed_6a = InceptionB(64)
        self.mixed_6b = InceptionC(112, 20)
        self.aux = nn.Linear(64, 10)
        self.mixed_7a = InceptionE(64)
        self.dropout = nn.Dropout()
        self.fc = nn.Linear(112, 10)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.mixed_6b(self.mixed_6a(self.mixed_5b(self.stem(x))))
        aux = self.aux(x.mean((2, 3))) if self.training else None
        x = F.adaptive_avg_pool2d(self.mixed_7a(x), (1, 1))
        logits = self.fc(self.dropout(x).flatten(1))
        return logits if aux is None else (logits, aux)


def inception() -> nn.Module:
    return Inception()
