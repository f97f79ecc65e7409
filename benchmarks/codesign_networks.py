"""The image networks of `bench_codesign.py`: like ResNet-18, MobileNet-v2 and a small ViT, for Fashion-MNIST.

    python benchmarks/codesign_networks.py [--network resnet mobilenet vit]

Of the blocks that the cost model is judged on, at sizes that train in minutes on one core. Trained once on
the 60,000 images and cached as `recovery_networks.py` does; the weights are those after the last epoch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from cost_networks import BasicBlock, Block, Inverted, conv_bn
from recovery_networks import cache, trained, written
from safetensors.torch import load_file
from torch import Tensor, nn

from penjing.demo.network import MEAN, STD


class ResNet(nn.Module):
    """Four stages of two basic blocks, 32 to 256 channels, behind a stem that halves the image."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(32, 32, 1), (32, 64, 2), (64, 128, 2), (128, 256, 2)]
        self.stem = nn.Sequential(conv_bn(1, 32, 3, 2), nn.ReLU())
        self.stages = nn.Sequential(
            *(nn.Sequential(BasicBlock(i, o, s), BasicBlock(o, o, 1)) for i, o, s in widths)
        )
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem((x - MEAN) / STD)).mean((2, 3)))


class MobileNet(nn.Module):
    """Nine inverted residuals, 16 to 96 channels, behind a stem that halves the image."""

    def __init__(self) -> None:
        super().__init__()
        stages = [(16, 1, 1), (24, 2, 2), (32, 2, 1), (64, 3, 2), (96, 2, 1)]
        layers: list[nn.Module] = [conv_bn(1, 16, 3, 2), nn.ReLU6()]
        inputs = 16
        for outputs, blocks, stride in stages:
            for block in range(blocks):
                layers.append(Inverted(inputs, outputs, stride if block == 0 else 1))
                inputs = outputs
        self.layers = nn.Sequential(*layers, conv_bn(inputs, 384, 1), nn.ReLU6())
        self.head = nn.Linear(384, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers((x - MEAN) / STD).mean((2, 3)))


class VisionTransformer(nn.Module):
    """Four blocks of width 128 with four heads, patches of 7 x 7."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 128, 7, 7)
        self.token = nn.Parameter(torch.randn(1, 1, 128) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 17, 128) * 0.02)
        self.blocks = nn.Sequential(*(Block(128, 4) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches((x - MEAN) / STD).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1) + self.places
        return self.head(self.norm(self.blocks(y))[:, 0])


CLASSES: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet,
    "mobilenet": MobileNet,
    "vit": VisionTransformer,
}

EPOCHS = {"resnet": 3, "mobilenet": 3, "vit": 5}


def network(name: str) -> nn.Module:
    """With its weights, in eval mode; trained now where it has not been."""
    path = cache() / f"codesign-{name}.safetensors"
    torch.manual_seed(0)
    model = CLASSES[name]()
    if not path.exists():
        print(f"no weights of {name}: training", flush=True)
        written(trained(model, EPOCHS[name], {"network": name}, adamw=name == "vit"), path)
    model.load_state_dict(load_file(path))
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", nargs="*", choices=CLASSES, default=list(CLASSES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.network:
        network(name)


if __name__ == "__main__":
    main()
