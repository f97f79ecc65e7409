"""The demo's network: a small residual network for 28x28 grey images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

#: Mean and standard deviation of the 60,000 Fashion-MNIST training images, pixels scaled to [0, 1].
MEAN = 0.2860
STD = 0.3530


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """Makes the layers, untrained."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x[n i h w] -> y[n o h/stride w/stride]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x))


class FashionResNet(nn.Module):
    """A ResNet of three stages for 28x28 grey images; pixels in, one score per class out.

    The images are expected in [0, 1]; the network normalises them itself, so that an exported file needs no
    preprocessing besides a division by 255.

    Args:
        classes: number of classes.
        widths: channels of the three stages.
        blocks: residual blocks of the three stages.
    """

    def __init__(
        self,
        classes: int = 10,
        widths: tuple[int, int, int] = (32, 64, 96),
        blocks: tuple[int, int, int] = (2, 2, 1),
    ) -> None:
        """Makes the layers, untrained."""
        super().__init__()
        self.conv = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.stage1 = _stage(widths[0], widths[0], blocks[0], stride=1)
        self.stage2 = _stage(widths[0], widths[1], blocks[1], stride=2)
        self.stage3 = _stage(widths[1], widths[2], blocks[2], stride=2)
        self.classifier = nn.Linear(widths[2], classes)

    def forward(self, images: Tensor) -> Tensor:
        """images[n 1 28 28] in [0, 1] -> scores[n classes]."""
        x = (images - MEAN) / STD
        x = functional.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        scores: Tensor = self.classifier(x)
        return scores


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` residual blocks, of which the first may change width and resolution."""
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))
