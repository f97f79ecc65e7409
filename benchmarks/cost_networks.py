"""The networks that the cost model is judged on: like ResNet-18, MobileNet-v2 and ViT-Tiny."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.demo import FashionResNet


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, 3)
        self.shortcut = conv_bn(inputs, outputs, 1, stride) if stride != 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class ResNet(nn.Module):
    """Four stages of two basic blocks, 64 to 512 channels, for images of 64 x 64."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        self.stem = nn.Sequential(conv_bn(3, 64, 3), nn.ReLU())
        self.stages = nn.Sequential(
            *(nn.Sequential(BasicBlock(i, o, s), BasicBlock(o, o, 1)) for i, o, s in widths)
        )
        self.head = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inputs
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            conv_bn(inputs, wide, 1), nn.ReLU6(), conv_bn(wide, wide, 3, stride, groups=wide), nn.ReLU6(),
            conv_bn(wide, outputs, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNet(nn.Module):
    """Inverted residuals of MobileNet-v2, for images of 96 x 96."""

    def __init__(self) -> None:
        super().__init__()
        stages = [(16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2)]
        layers: list[nn.Module] = [conv_bn(3, 32, 3, 2), nn.ReLU6()]
        inputs = 32
        for outputs, blocks, stride in stages:
            for block in range(blocks):
                layers.append(Inverted(inputs, outputs, stride if block == 0 else 1))
                inputs = outputs
        self.layers = nn.Sequential(*layers, conv_bn(inputs, 640, 1), nn.ReLU6())
        self.head = nn.Linear(640, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.inner, self.outer = (
            nn.Linear(width, width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        batch, rows, _ = y.shape
        parts = (
            layer(y).view(batch, rows, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(batch, rows, -1)
        x = x + self.out(attended)
        return x + self.outer(functional.gelu(self.inner(self.between(x))))


class VisionTransformer(nn.Module):
    """Six blocks of width 192 with three heads, for images of 96 x 96 in patches of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 192, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 192) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 145, 192) * 0.02)
        self.blocks = nn.Sequential(*(Block(192, 3) for _ in range(6)))
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1) + self.places
        return self.head(self.norm(self.blocks(y))[:, 0])


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    """Every network by name, untrained but seeded, with its example input."""
    torch.manual_seed(0)
    return {
        "resnet": (ResNet().eval(), torch.randn(1, 3, 64, 64)),
        "mobilenet": (MobileNet().eval(), torch.randn(1, 3, 96, 96)),
        "vit": (VisionTransformer().eval(), torch.randn(1, 3, 96, 96)),
        "demo": (FashionResNet().eval(), torch.rand(1, 1, 28, 28)),
    }
