"""Feature pyramids: RetinaNet with one head for all levels, and a weighted BiFPN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stage(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, 3, 2, 1, bias=False),
        nn.BatchNorm2d(o),
        nn.LeakyReLU(0.1),
        nn.Conv2d(o, o, 3, 1, 1, bias=False),
        nn.BatchNorm2d(o),
        nn.LeakyReLU(0.1),
    )


class FPN(nn.Module):
    def __init__(self, in_channels_list: list[int], out_channels: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels_list)
        self.layer_blocks = nn.ModuleList(
            nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in in_channels_list
        )

    def forward(self, x: dict[str, Tensor]) -> list[Tensor]:
        feats = list(x.values())
        last_inner = self.inner_blocks[-1](feats[-1])
        results = [self.layer_blocks[-1](last_inner)]
        for idx in range(len(feats) - 2, -1, -1):
            inner_lateral = self.inner_blocks[idx](feats[idx])
            inner_top_down = F.interpolate(last_inner, size=inner_lateral.shape[-2:], mode="nearest")
            last_inner = inner_lateral + inner_top_down
            results.insert(0, self.layer_blocks[idx](last_inner))
        results.append(F.max_pool2d(results[-1], kernel_size=1, stride=2, padding=0))
        return results


class Head(nn.Module):
    """One tower, called once a level; anchors are folded out of the channels."""

    def __init__(self, in_channels: int, num_anchors: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1),
            nn.GroupNorm(4, in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, in_channels, 3, padding=1),
            nn.GroupNorm(4, in_channels),
            nn.ReLU(),
        )
        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, 3, padding=1)
        self.num_classes = num_classes

    def forward(self, features: list[Tensor]) -> Tensor:
        all_logits = []
        for x in features:
            logits = self.cls_logits(self.conv(x))
            n, _, h, w = logits.shape
            logits = logits.view(n, -1, self.num_classes, h, w).permute(0, 3, 4, 1, 2)
            all_logits.append(logits.reshape(n, -1, self.num_classes))
        return torch.cat(all_logits, dim=1)


class RetinaNet(nn.Module):
    """Backbone, pyramid, head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3 = stage(3, 12), stage(12, 20), stage(20, 28)
        self.fpn = FPN([12, 20, 28], 16)
        self.head = Head(16, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        c1 = self.layer1(x)
        c2 = self.layer2(c1)
        return self.head(self.fpn({"c1": c1, "c2": c2, "c3": self.layer3(c2)}))


class FusionNode(nn.Module):
    """BiFPN: non-negative learned weights, normalised, then a separable convolution."""

    def __init__(self, channels: int, inputs: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(inputs))
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, *xs: Tensor) -> Tensor:
        w = F.relu(self.w)
        w = w / (w.sum() + 1e-4)
        x = sum(w[i] * t for i, t in enumerate(xs))
        return self.bn(self.pointwise(self.depthwise(x * torch.sigmoid(x))))


class BiFPN(nn.Module):
    """One bidirectional pass over three levels, classified from the sum of pooled levels."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3 = stage(3, 12), stage(12, 20), stage(20, 28)
        self.p1, self.p2, self.p3 = (nn.Conv2d(c, channels, 1) for c in (12, 20, 28))
        self.td2, self.td1 = FusionNode(channels, 2), FusionNode(channels, 2)
        self.bu2, self.bu3 = FusionNode(channels, 3), FusionNode(channels, 2)
        self.out = nn.Conv2d(channels, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c1 = self.layer1(x)
        c2 = self.layer2(c1)
        p1, p2, p3 = self.p1(c1), self.p2(c2), self.p3(self.layer3(c2))
        t2 = self.td2(p2, F.interpolate(p3, scale_factor=2))
        o1 = self.td1(p1, F.interpolate(t2, scale_factor=2))
        o2 = self.bu2(p2, t2, F.max_pool2d(o1, 2))
        o3 = self.bu3(p3, F.max_pool2d(o2, 2))
        return self.out(o1), self.out(o2), self.out(o3)


def fpn() -> nn.Module:
    return RetinaNet()


def bifpn() -> nn.Module:
    return BiFPN()
