"""Stacked hourglass for key points: down and up, heat maps fed back, soft arg-max at the end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inp), nn.Conv2d(inp, out // 2, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(out // 2), nn.Conv2d(out // 2, out // 2, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(out // 2), nn.Conv2d(out // 2, out, 1)
        self.skip_layer = nn.Conv2d(inp, out, 1)
        self.need_skip = inp != out

    def forward(self, x: Tensor) -> Tensor:
        residual = self.skip_layer(x) if self.need_skip else x
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        out = self.conv3(F.relu(self.bn3(out)))
        out += residual
        return out


class Hourglass(nn.Module):
    def __init__(self, n: int, f: int) -> None:
        super().__init__()
        self.up1 = Residual(f, f)
        self.low1 = Residual(f, f + 8)
        self.low2: nn.Module = Hourglass(n - 1, f + 8) if n > 1 else Residual(f + 8, f + 8)
        self.low3 = Residual(f + 8, f)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(F.max_pool2d(x, 2, 2))))
        return self.up1(x) + F.interpolate(low, x.shape[2:], mode="bilinear")


class StackedHourglass(nn.Module):
    """Two stacks; the unused skip convolutions are part of the state dict, as in the published code."""

    def __init__(self, f: int = 16, joints: int = 5) -> None:
        super().__init__()
        self.pre = nn.Sequential(nn.Conv2d(3, f, 5, 2, 2), nn.BatchNorm2d(f), nn.ReLU(inplace=True))
        self.hgs = nn.ModuleList(Hourglass(2, f) for _ in range(2))
        self.outs = nn.ModuleList(nn.Conv2d(f, joints, 1) for _ in range(2))
        self.merge_preds = nn.Conv2d(joints, f, 1)
        self.merge_features = nn.Conv2d(f, f, 1)

    def forward(self, imgs: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pre(imgs)
        heat_maps = []
        for i, (hg, out) in enumerate(zip(self.hgs, self.outs, strict=True)):
            feature = hg(x)
            preds = out(feature)
            heat_maps.append(preds)
            if i == 0:
                x = x + self.merge_preds(preds) + self.merge_features(feature)
        b, j, h, w = heat_maps[-1].shape
        p = heat_maps[-1].view(b, j, -1).softmax(-1).view(b, j, h, w)
        ys, xs = torch.linspace(0, 1, h, device=p.device), torch.linspace(0, 1, w, device=p.device)
        points = torch.stack([(p.sum(2) * xs).sum(-1), (p.sum(3) * ys).sum(-1)], dim=-1)
        return torch.stack(heat_maps, 1), points


def hourglass() -> nn.Module:
    return StackedHourglass()
