"""A one-stage detector: CSP and C2f blocks, pyramid pooling, a decoupled head."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int, shortcut: bool = True) -> None:
        super().__init__()
        self.cv1 = Conv(c, c, 3)
        self.cv2 = Conv(c, c, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C2f(nn.Module):
    """Split in two, and every bottleneck's output is kept for the joining."""

    def __init__(self, c1: int, c2: int, n: int, shortcut: bool = True) -> None:
        super().__init__()
        self.c = c2 // 2
        self.cv1 = Conv(c1, 2 * self.c)
        self.cv2 = Conv((2 + n) * self.c, c2)
        self.m = nn.ModuleList(Bottleneck(self.c, shortcut) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).split((self.c, self.c), 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class C3(nn.Module):
    """Cross stage partial: two pointwise paths, one through bottlenecks."""

    def __init__(self, c1: int, c2: int, n: int) -> None:
        super().__init__()
        c_ = c2 // 2
        self.cv1 = Conv(c1, c_)
        self.cv2 = Conv(c1, c_)
        self.cv3 = Conv(2 * c_, c2)
        self.m = nn.Sequential(*(Bottleneck(c_) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        c_ = c1 // 2
        self.cv1 = Conv(c1, c_)
        self.cv2 = Conv(c_ * 4, c2)
        self.m = nn.MaxPool2d(kernel_size=k, stride=1, padding=k // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        y1 = self.m(x)
        y2 = self.m(y1)
        return self.cv2(torch.cat((x, y1, y2, self.m(y2)), 1))


class DFL(nn.Module):
    """The expectation of a distribution over bins, as a fixed pointwise convolution."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(bins, dtype=torch.float).view(1, bins, 1, 1)
        self.c1 = bins

    def forward(self, x: Tensor) -> Tensor:
        b, _, a = x.shape
        return self.conv(x.view(b, 4, self.c1, a).transpose(2, 1).softmax(1)).view(b, 4, a)


class Detect(nn.Module):
    def __init__(self, nc: int, ch: tuple[int, ...], reg_max: int = 8) -> None:
        super().__init__()
        self.nc, self.reg_max = nc, reg_max
        self.no = nc + reg_max * 4
        self.cv2 = nn.ModuleList(nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, 4 * reg_max, 1)) for c in ch)
        self.cv3 = nn.ModuleList(nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, nc, 1)) for c in ch)
        self.dfl = DFL(reg_max)

    def forward(self, x: list[Tensor]) -> tuple[Tensor, Tensor]:
        y = [torch.cat((b(t), c(t)), 1) for t, b, c in zip(x, self.cv2, self.cv3, strict=True)]
        joined = torch.cat([t.view(t.shape[0], self.no, -1) for t in y], 2)
        box, cls = joined.split((self.reg_max * 4, self.nc), 1)
        return self.dfl(box), cls.sigmoid()


class Yolo(nn.Module):
    """Backbone, top-down and bottom-up neck, two detection levels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 12, 3, 2)
        self.down1 = nn.Sequential(Conv(12, 24, 3, 2), C2f(24, 24, 2))
        self.down2 = nn.Sequential(Conv(24, 32, 3, 2), C3(32, 32, 1), SPPF(32, 32))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.neck1 = C2f(56, 24, 1, shortcut=False)
        self.down3 = Conv(24, 24, 3, 2)
        self.neck2 = C2f(56, 32, 1, shortcut=False)
        self.detect = Detect(3, (24, 32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p1 = self.down1(self.stem(x))
        p2 = self.down2(p1)
        n1 = self.neck1(torch.cat([self.up(p2), p1], 1))
        n2 = self.neck2(torch.cat([self.down3(n1), p2], 1))
        return self.detect([n1, n2])


def yolo() -> nn.Module:
    return Yolo()
