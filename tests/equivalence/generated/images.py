"""Layers on images (b, c, h, w)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.equivalence.generated.sized import Sized


def settled(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> nn.Module:
    """Batch norm with statistics as after training: none is 0 or 1."""
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.uniform_(-0.3, 0.3)
    norm.running_var.uniform_(0.5, 1.5)
    return norm


def affine(norm: nn.GroupNorm | nn.LayerNorm) -> nn.Module:
    """A norm with weight and bias as after training."""
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    if norm.bias is not None:
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return norm


def conv_unit(
    c: int, out: int, kernel: int, *, groups: int = 1, bias: bool = True, norm: str = "", act: str = ""
) -> nn.Module:
    """Convolution, norm and activation in a row."""
    parts: list[nn.Module] = [nn.Conv2d(c, out, kernel, padding=kernel // 2, groups=groups, bias=bias)]
    if norm == "batch":
        parts.append(settled(nn.BatchNorm2d(out)))
    elif norm == "instance":
        parts.append(nn.InstanceNorm2d(out, affine=bias))
    elif norm:
        parts.append(affine(nn.GroupNorm(int(norm), out)))
    if act == "prelu":
        parts.append(nn.PReLU(out, init=0.2))
    elif act:
        parts.append(
            {"relu": nn.ReLU(), "silu": nn.SiLU(), "hardswish": nn.Hardswish(), "relu6": nn.ReLU6()}[act]
        )
    return nn.Sequential(*parts) if len(parts) > 1 else parts[0]


class Shuffle(Sized):
    """Channel shuffle by view and transpose, in three spellings, or by the operator."""

    def __init__(self, groups: int, how: str) -> None:
        super().__init__()
        self.groups, self.how = groups, how

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        if self.how == "view":
            x = x.view(b, self.groups, c // self.groups, h, w)
            return x.transpose(1, 2).contiguous().view(b, -1, h, w)
        if self.how == "flatten":
            return x.reshape(b, self.groups, -1, h, w).permute(0, 2, 1, 3, 4).flatten(1, 2)
        if self.how == "unflatten":
            return x.unflatten(1, (self.groups, -1)).swapaxes(1, 2).reshape(b, c, h, w)
        return F.channel_shuffle(x, self.groups)


class SqueezeExcite(Sized):
    """Squeeze and excitation, by 1x1 convolutions or by linear layers."""

    def __init__(self, c: int, hidden: int, how: str) -> None:
        super().__init__()
        self.how = how
        if how == "conv":
            self.reduce, self.expand = nn.Conv2d(c, hidden, 1), nn.Conv2d(hidden, c, 1)
        else:
            self.reduce, self.expand = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "conv":
            s = F.adaptive_avg_pool2d(x, 1)
            return x * torch.sigmoid(self.expand(F.relu(self.reduce(s))))
        b, c = x.shape[:2]
        s = self.expand(F.silu(self.reduce(x.mean((2, 3)))))
        return x * F.hardsigmoid(s).view(b, c, 1, 1)


class PadChannels(Sized):
    """The parameter-free shortcut: zeros before and after the channels."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, self.low, self.high))


class PadCrop(Sized):
    """Positions padded, convolved without padding."""

    def __init__(self, c: int, out: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(c, out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (1, 1, 1, 1), mode=self.mode))


class LayerScale(nn.Module):
    """A bare parameter on every channel."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(c, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class PositionMap(nn.Module):
    """A learnt map added to every image."""

    def __init__(self, c: int, h: int, w: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, c, h, w) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.position


class SpatialAttention(nn.Module):
    """Mean and maximum over the channels make a map (CBAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(pooled))


class ChannelsLastNorm(nn.Module):
    """Layer norm over the channels, by two permutations."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm = affine(nn.LayerNorm(c))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt v2), channels first."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(1, c, 1, 1))
        self.beta = nn.Parameter(torch.rand(1, c, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # The root of exactly zero, which a dead channel gives, has no gradient.
        g = (x.square().sum((2, 3), keepdim=True) + 1e-12).sqrt()
        n = g / (g.mean(dim=1, keepdim=True) + 1e-6)
        return self.gamma * (x * n) + self.beta + x


class Res2(Sized):
    """Res2Net's hierarchy: each piece is convolved with what the one before it gave."""

    def __init__(self, c: int, scales: int) -> None:
        super().__init__()
        self.width, self.scales = c // scales, scales
        self.convs = nn.ModuleList(nn.Conv2d(self.width, self.width, 3, padding=1) for _ in range(scales - 1))

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.split(x, self.width, 1)
        made = [pieces[0]]
        for i, conv in enumerate(self.convs):
            last = pieces[i + 1] if i == 0 else made[-1] + pieces[i + 1]
            made.append(F.relu(conv(last)))
        return torch.cat(made, 1)


class C2f(Sized):
    """YOLO's C2f: half goes on, everything on the way is joined."""

    def __init__(self, c: int, out: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.enter = nn.Conv2d(c, 2 * hidden, 1)
        self.blocks = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(depth))
        self.leave = nn.Conv2d((2 + depth) * hidden, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            y.append(y[-1] + F.silu(block(y[-1])))
        return self.leave(torch.cat(y, 1))


class Ghost(Sized):
    """Some channels by a convolution, the others cheaply from them; cropped to what is wanted."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.out = out
        half = -(-out // 2)
        self.primary = nn.Conv2d(c, half, 1, bias=False)
        self.cheap = nn.Conv2d(half, half, 3, padding=1, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.primary(x))
        return torch.cat([first, self.cheap(first)], dim=1)[:, : self.out, :, :]


class EinsumMix(nn.Module):
    """A 1x1 convolution as an einsum over a bare parameter."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c, out) / c**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,cd->bdhw", x, self.weight)


class PixelAttention(Sized):
    """Attention between positions, written with matrix products on flattened maps."""

    def __init__(self, c: int, inner: int) -> None:
        super().__init__()
        self.inner = inner
        self.query, self.key, self.value = nn.Conv2d(c, inner, 1), nn.Conv2d(c, inner, 1), nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q = self.query(x).flatten(2).transpose(1, 2)
        k = self.key(x).view(b, self.inner, h * w)
        a = torch.softmax(torch.bmm(q, k) * 0.5, dim=-1)
        v = self.value(x).reshape(b, c, -1)
        return torch.bmm(v, a.transpose(1, 2)).view(b, c, h, w) + x


class ChannelAttention(nn.Module):
    """Attention between channels (DANet): a softmax over them."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        flat = x.view(b, c, -1)
        a = torch.softmax(flat @ flat.transpose(1, 2), dim=-1)
        return self.beta * (a @ flat).view(b, c, h, w) + x


class WeightNormed(nn.Module):
    """A convolution with weight normalisation."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv2d(c, out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Unfolded(Sized):
    """A convolution as `unfold` and a matrix product."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.out = out
        self.weight = nn.Parameter(torch.randn(out, c * 9) / (c * 9) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        return (self.weight @ F.unfold(x, 3, padding=1)).view(b, self.out, h, w)


class Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1, and a shortcut."""

    def __init__(self, c: int, width: int, groups: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, width, 1, bias=False), settled(nn.BatchNorm2d(width))
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=False)
        self.bn2 = settled(nn.BatchNorm2d(width))
        self.conv3, self.bn3 = nn.Conv2d(width, c, 1, bias=False), settled(nn.BatchNorm2d(c))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + x)


class DepthToHeads(Sized):
    """Channels viewed as (heads, width), each head scaled by its own parameter."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = nn.Parameter(torch.rand(1, heads, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return (x.view(b, self.heads, c // self.heads, h, w) * self.scale).view(b, c, h, w)


class ToTokens(nn.Module):
    """An image as a sequence of positions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class PatchMerge(nn.Module):
    """Swin's merging: each of four neighbours becomes channels, normalised and reduced."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.norm = affine(nn.LayerNorm(4 * c))
        self.reduce = nn.Linear(4 * c, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduce(self.norm(x)).permute(0, 3, 1, 2)


class WindowAttention(Sized):
    """Attention inside of windows, with a learnt bias for each head and pair of places, after a roll."""

    def __init__(self, c: int, heads: int, width: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.width, self.window, self.shift = heads, width, window, shift
        self.qkv, self.proj = nn.Linear(c, 3 * heads * width), nn.Linear(heads * width, c)
        self.bias = nn.Parameter(torch.randn(heads, window * window, window * window))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        n = self.window
        y = torch.roll(x.permute(0, 2, 3, 1), (-self.shift, -self.shift), dims=(1, 2))
        y = y.view(b, h // n, n, w // n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * n, c)
        q, k, v = self.qkv(y).view(-1, n * n, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-1, -2)) * self.width**-0.5 + self.bias
        y = self.proj((a.softmax(-1) @ v).transpose(1, 2).flatten(2))
        y = y.view(b, h // n, w // n, n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return x + torch.roll(y, (self.shift, self.shift), dims=(1, 2)).permute(0, 3, 1, 2)
