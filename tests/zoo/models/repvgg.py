"""RepVGG before its branches are merged: 3x3, 1x1 and identity, each with its own batch norm."""

from __future__ import annotations

from torch import Tensor, nn


class RepVGGBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        same = in_channels == out_channels and stride == 1
        self.nonlinearity = nn.ReLU()
        self.rbr_identity = nn.BatchNorm2d(in_channels) if same else None
        self.rbr_dense = self._conv_bn(in_channels, out_channels, 3, stride, 1, groups)
        self.rbr_1x1 = self._conv_bn(in_channels, out_channels, 1, stride, 0, groups)

    @staticmethod
    def _conv_bn(i: int, o: int, kernel: int, stride: int, padding: int, groups: int) -> nn.Sequential:
        result = nn.Sequential()
        result.add_module("conv", nn.Conv2d(i, o, kernel, stride, padding, groups=groups, bias=False))
        result.add_module("bn", nn.BatchNorm2d(o))
        return result

    def forward(self, inputs: Tensor) -> Tensor:
        id_out = 0 if self.rbr_identity is None else self.rbr_identity(inputs)
        return self.nonlinearity(self.rbr_dense(inputs) + self.rbr_1x1(inputs) + id_out)


class RepVGG(nn.Module):
    """Every second block grouped, as in the g2 variants."""

    def __init__(self) -> None:
        super().__init__()
        self.stage0 = RepVGGBlock(3, 16, stride=2)
        self.stage1 = nn.Sequential(RepVGGBlock(16, 24, 2), RepVGGBlock(24, 24, groups=2))
        self.stage2 = nn.Sequential(
            RepVGGBlock(24, 32, 2), RepVGGBlock(32, 32, groups=2), RepVGGBlock(32, 32)
        )
        self.gap = nn.AdaptiveAvgPool2d(output_size=1)
        self.linear = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.gap(self.stage2(self.stage1(self.stage0(x))))
        return self.linear(out.view(out.size(0), -1))


def repvgg() -> nn.Module:
    return RepVGG()
