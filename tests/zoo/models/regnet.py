"""RegNet Y: groups that follow from a group width, squeeze-excitation sized by the input."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    def __init__(
        self, i: int, o: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU(inplace=True) if act else nn.Identity(),
        )


class SE(nn.Module):
    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Sequential(
            nn.Conv2d(channels, squeeze, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeeze, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(self.avg_pool(x))


class YBlock(nn.Module):
    def __init__(self, width_in: int, width_out: int, stride: int, group_width: int) -> None:
        super().__init__()
        self.proj: nn.Module | None = None
        if width_in != width_out or stride != 1:
            self.proj = ConvNormAct(width_in, width_out, 1, stride, act=False)
        self.a = ConvNormAct(width_in, width_out)
        self.b = ConvNormAct(width_out, width_out, 3, stride, groups=width_out // group_width)
        self.se = SE(width_out, round(0.25 * width_in))
        self.c = ConvNormAct(width_out, width_out, act=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.proj is None else self.proj(x)
        return self.relu(shortcut + self.c(self.se(self.b(self.a(x)))))


class RegNet(nn.Module):
    """Two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 16, 3, 2)
        self.trunk_output = nn.Sequential(
            YBlock(16, 24, 1, 8), YBlock(24, 24, 1, 8), YBlock(24, 56, 2, 8), YBlock(56, 56, 1, 8)
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(56, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.trunk_output(self.stem(x)))
        return self.fc(x.flatten(start_dim=1))


def regnet() -> nn.Module:
    return RegNet()
