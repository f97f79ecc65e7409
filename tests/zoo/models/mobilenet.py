"""MobileNet v2 (inverted residuals, ReLU6) and v3 (squeeze-excitation, hard swish)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def make_divisible(v: float, divisor: int = 8) -> int:
    return max(divisor, int(v + divisor / 2) // divisor * divisor)


def conv_bn(i: int, o: int, k: int, stride: int, groups: int, act: type[nn.Module] | None) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(i, o, k, stride, (k - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(o),
    ]
    if act is not None:
        layers.append(act(inplace=True))
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        hidden_dim = round(inp * expand_ratio)
        self.use_res_connect = stride == 1 and inp == oup
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(conv_bn(inp, hidden_dim, 1, 1, 1, nn.ReLU6))
        layers += [
            conv_bn(hidden_dim, hidden_dim, 3, stride, hidden_dim, nn.ReLU6),
            nn.Conv2d(hidden_dim, oup, 1, 1, 0, bias=False),
            nn.BatchNorm2d(oup),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    """Expansion, channels, repeats and stride per stage, as the paper's table has them."""

    settings = ((1, 8, 1, 1), (6, 12, 2, 2), (6, 16, 2, 2))

    def __init__(self) -> None:
        super().__init__()
        inp = 16
        features: list[nn.Module] = [conv_bn(3, inp, 3, 2, 1, nn.ReLU6)]
        for t, c, n, s in self.settings:
            for i in range(n):
                features.append(InvertedResidual(inp, c, s if i == 0 else 1, t))
                inp = c
        features.append(conv_bn(inp, 64, 1, 1, 1, nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.activation(self.fc1(self.avgpool(x)))
        return self.scale_activation(self.fc2(scale)) * x


class InvertedResidualV3(nn.Module):
    def __init__(self, inp: int, kernel: int, exp: int, out: int, se: bool, hs: bool, stride: int) -> None:
        super().__init__()
        act: type[nn.Module] = nn.Hardswish if hs else nn.ReLU
        self.use_res_connect = stride == 1 and inp == out
        layers: list[nn.Module] = []
        if exp != inp:
            layers.append(conv_bn(inp, exp, 1, 1, 1, act))
        layers.append(conv_bn(exp, exp, kernel, stride, exp, act))
        if se:
            layers.append(SqueezeExcitation(exp, make_divisible(exp // 4)))
        layers.append(conv_bn(exp, out, 1, 1, 1, None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        if self.use_res_connect:
            result += x
        return result


class MobileNetV3(nn.Module):
    """The small variant, narrowed."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(3, 8, 3, 2, 1, nn.Hardswish),
            InvertedResidualV3(8, 3, 8, 8, True, False, 1),
            InvertedResidualV3(8, 3, 36, 12, False, False, 2),
            InvertedResidualV3(12, 3, 44, 12, False, False, 1),
            InvertedResidualV3(12, 5, 48, 20, True, True, 2),
            InvertedResidualV3(20, 5, 60, 20, True, True, 1),
            conv_bn(20, 72, 1, 1, 1, nn.Hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(72, 96), nn.Hardswish(inplace=True), nn.Dropout(p=0.2, inplace=True), nn.Linear(96, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        return self.classifier(x)


def mobilenet_v2() -> nn.Module:
    return MobileNetV2()


def mobilenet_v3() -> nn.Module:
    return MobileNetV3()
