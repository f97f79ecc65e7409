"""EfficientNet: MBConv with squeeze-excitation and SiLU; the fused first stages of v2."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not self.training:
            return x
        keep = 1.0 - self.p
        noise = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * noise.div_(keep)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.act1 = nn.SiLU(inplace=True)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x_se = x.mean((2, 3), keepdim=True)
        x_se = self.conv_expand(self.act1(self.conv_reduce(x_se)))
        return x * x_se.sigmoid()


class MBConv(nn.Module):
    def __init__(self, inp: int, out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        mid = inp * expand
        self.has_skip = stride == 1 and inp == out
        self.conv_pw = nn.Conv2d(inp, mid, 1, bias=False) if expand > 1 else nn.Identity()
        self.bn1 = nn.BatchNorm2d(mid)
        self.act = nn.SiLU(inplace=True)
        self.conv_dw = nn.Conv2d(mid, mid, kernel, stride, kernel // 2, groups=mid, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.se = SqueezeExcite(mid, max(1, inp // 4))
        self.conv_pwl = nn.Conv2d(mid, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.drop_path = StochasticDepth(0.1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.act(self.bn1(self.conv_pw(x)))
        x = self.se(self.act(self.bn2(self.conv_dw(x))))
        x = self.bn3(self.conv_pwl(x))
        if self.has_skip:
            x = self.drop_path(x) + shortcut
        return x


class FusedMBConv(nn.Module):
    def __init__(self, inp: int, out: int, stride: int, expand: int) -> None:
        super().__init__()
        self.has_skip = stride == 1 and inp == out
        self.block = nn.Sequential(
            nn.Conv2d(inp, inp * expand, 3, stride, 1, bias=False),
            nn.BatchNorm2d(inp * expand),
            nn.SiLU(),
            nn.Conv2d(inp * expand, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.has_skip else self.block(x)


class EfficientNet(nn.Module):
    """Stem, blocks, pooled head."""

    def __init__(self, blocks: list[nn.Module], stem: int, last: int, head: int) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(last, head, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(head)
        self.classifier = nn.Linear(head, 10)

    def forward_features(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.bn1(self.conv_stem(x)))
        return nn.functional.silu(self.bn2(self.conv_head(self.blocks(x))))

    def forward(self, x: Tensor) -> Tensor:
        x = self.forward_features(x)
        return self.classifier(x.mean(dim=(-2, -1)))


def efficientnet() -> nn.Module:
    blocks = [MBConv(8, 8, 3, 1, 1), MBConv(8, 12, 3, 2, 6), MBConv(12, 12, 3, 1, 6), MBConv(12, 16, 5, 2, 6)]
    return EfficientNet(list(blocks), 8, 16, 64)


def efficientnet_v2() -> nn.Module:
    blocks = [
        FusedMBConv(12, 12, 1, 1),
        FusedMBConv(12, 16, 2, 4),
        FusedMBConv(16, 16, 1, 4),
        MBConv(16, 24, 3, 2, 4),
    ]
    return EfficientNet(list(blocks), 12, 24, 48)
