"""Layers on tokens (b, t, c)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.equivalence.generated.images import affine, settled
from tests.equivalence.generated.sized import Sized


class Mlp(nn.Module):
    """Two linear layers and an activation."""

    def __init__(self, c: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, hidden), nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GatedMlp(Sized):
    """SwiGLU: gate and value from one linear layer that is chunked, or from two."""

    def __init__(self, c: int, hidden: int, how: str) -> None:
        super().__init__()
        self.how = how
        if how == "fused":
            self.up = nn.Linear(c, 2 * hidden, bias=False)
        else:
            self.gate, self.up = nn.Linear(c, hidden, bias=False), nn.Linear(c, hidden, bias=False)
        self.down = nn.Linear(hidden, c, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "fused":
            gate, up = self.up(x).chunk(2, dim=-1)
        else:
            gate, up = self.gate(x), self.up(x)
        return self.down(F.silu(gate) * up)


class FusedAttention(Sized):
    """Self-attention from one qkv layer: unbound from a view, or chunked; fused or written out."""

    def __init__(self, c: int, heads: int, width: int, how: str) -> None:
        super().__init__()
        self.heads, self.width, self.how = heads, width, how
        self.qkv, self.proj = nn.Linear(c, 3 * heads * width), nn.Linear(heads * width, c)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        if self.how == "unbind":
            q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            parts = self.qkv(x).chunk(3, dim=-1)
            q, k, v = (part.view(b, t, self.heads, self.width).transpose(1, 2) for part in parts)
            a = (q @ k.transpose(-2, -1)) * self.width**-0.5
            y = a.softmax(dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, t, self.heads * self.width))


class GroupedAttention(Sized):
    """Attention with fewer key-value heads than queries."""

    def __init__(self, c: int, groups: int, repeats: int, width: int, how: str) -> None:
        super().__init__()
        self.groups, self.repeats, self.width, self.how = groups, repeats, width, how
        self.q = nn.Linear(c, groups * repeats * width)
        self.k, self.v = nn.Linear(c, groups * width), nn.Linear(c, groups * width)
        self.o = nn.Linear(groups * repeats * width, c)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.q(x).view(b, t, -1, self.width).transpose(1, 2)
        k = self.k(x).view(b, t, self.groups, self.width).transpose(1, 2)
        v = self.v(x).view(b, t, self.groups, self.width).transpose(1, 2)
        if self.how == "expand":
            shape = (b, self.groups, self.repeats, t, self.width)
            k = k[:, :, None].expand(shape).reshape(b, self.groups * self.repeats, t, self.width)
            v = v[:, :, None].expand(shape).reshape(b, self.groups * self.repeats, t, self.width)
        elif self.how == "interleave":
            k, v = (part.repeat_interleave(self.repeats, dim=1) for part in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.how == "native")
        return self.o(y.transpose(1, 2).flatten(2))


class EinsumAttention(Sized):
    """Attention by einsum, with weights that carry heads as a dimension of their own."""

    def __init__(self, c: int, heads: int, width: int) -> None:
        super().__init__()
        self.wq = nn.Parameter(torch.randn(c, heads, width) / c**0.5)
        self.wk = nn.Parameter(torch.randn(c, heads, width) / c**0.5)
        self.wv = nn.Parameter(torch.randn(c, heads, width) / c**0.5)
        self.wo = nn.Parameter(torch.randn(heads, width, c) / (heads * width) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        q = torch.einsum("btc,chd->bhtd", x, self.wq)
        k = torch.einsum("bsc,chd->bhsd", x, self.wk)
        v = torch.einsum("bsc,chd->bhsd", x, self.wv)
        a = torch.einsum("bhtd,bhsd->bhts", q, k).softmax(-1)
        return torch.einsum("bhts,bhsd,hdc->btc", a, v, self.wo)


class CrossAttention(Sized):
    """Queries from one sequence, keys and values from another."""

    def __init__(self, c: int, other: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(c, heads * width), nn.Linear(other, 2 * heads * width)
        self.o = nn.Linear(heads * width, c)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        kv = self.kv(y).view(b, y.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.o(F.scaled_dot_product_attention(q, kv[0], kv[1]).transpose(1, 2).reshape(b, t, -1))


class Multihead(nn.Module):
    """`nn.MultiheadAttention` on one sequence."""

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(c, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class HeadNorm(Sized):
    """Layer norm within each head, and a scale of its own for each head."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = affine(nn.LayerNorm(width))
        self.scale = nn.Parameter(torch.rand(heads, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        y = self.norm(x.view(b, t, self.heads, -1)) * self.scale
        return y.reshape(b, t, -1)


class HeadMean(Sized):
    """A linear layer viewed as heads, of which the mean is taken (or over their width)."""

    def __init__(self, c: int, heads: int, width: int, over: int) -> None:
        super().__init__()
        self.heads, self.over = heads, over
        self.fc = nn.Linear(c, heads * width)

    def forward(self, x: Tensor) -> Tensor:
        b, t = x.shape[:2]
        return self.fc(x).view(b, t, self.heads, -1).mean(dim=self.over)


class HeadProject(Sized):
    """Each head has a matrix of its own (a batched product)."""

    def __init__(self, heads: int, width: int, out: int, how: str) -> None:
        super().__init__()
        self.heads, self.how = heads, how
        self.weight = nn.Parameter(torch.randn(heads, width, out) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        x = x.view(b, t, self.heads, c // self.heads)
        if self.how == "einsum":
            return torch.einsum("bthd,hde->bthe", x, self.weight).reshape(b, t, -1)
        return (x.unsqueeze(-2) @ self.weight).squeeze(-2).flatten(2)


class TokenMix(nn.Module):
    """An MLP over the tokens (MLP-Mixer)."""

    def __init__(self, t: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(t, hidden), nn.Linear(hidden, t)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x.transpose(1, 2)))).transpose(1, 2)


class ClassToken(nn.Module):
    """A learnt token in front, and positions for all."""

    def __init__(self, t: int, c: int) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, c))
        self.position = nn.Parameter(torch.randn(1, t + 1, c))

    def forward(self, x: Tensor) -> Tensor:
        cls = self.cls.expand(x.shape[0], -1, -1)
        return torch.cat([cls, x], dim=1) + self.position


class FirstToken(nn.Module):
    """The first token added to every token."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(x[:, 0]).unsqueeze(1)


class Transposed1d(Sized):
    """Channels first for a moment: a 1-d convolution (depthwise or full), batch norm or group norm."""

    def __init__(self, c: int, how: str, groups: int = 1) -> None:
        super().__init__()
        self.how = how
        made = {
            "conv": lambda: nn.Conv1d(c, c, 3, padding=1, groups=groups),
            "depthwise": lambda: nn.Conv1d(c, c, 3, padding=1, groups=c),
            "batch": lambda: settled(nn.BatchNorm1d(c)),
            "group": lambda: affine(nn.GroupNorm(groups, c)),
        }
        self.inner = made[how]()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class GlobalContext(nn.Module):
    """The mean over the tokens gates every token."""

    def __init__(self, c: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def forward(self, x: Tensor) -> Tensor:
        context = self.fc2(F.relu(self.fc1(x.mean(dim=1))))
        return x * torch.sigmoid(context)[:, None, :].expand_as(x)


class TiedPair(nn.Module):
    """One weight reads down and, transposed, up again."""

    def __init__(self, c: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, c) / c**0.5)
        self.bias = nn.Parameter(torch.rand(hidden))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(F.linear(x, self.weight, self.bias)), self.weight.t())


class Normalised(nn.Module):
    """Every token at unit length, times a learnt vector."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(c) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * self.scale


class ToImage(Sized):
    """A sequence as an image again."""

    def __init__(self, h: int) -> None:
        super().__init__()
        self.h = h

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        return x.transpose(1, 2).reshape(b, c, self.h, t // self.h)


class Decode(Sized):
    """The first token as a small image: a linear layer, a view, a transposed convolution."""

    def __init__(self, c: int, width: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.fc = nn.Linear(c, width * 4)
        self.deconv = nn.ConvTranspose2d(width, out, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(F.relu(self.fc(x[:, 0])).view(x.size(0), self.width, 2, 2))


class Recurrent(nn.Module):
    """An LSTM or GRU over the tokens."""

    def __init__(self, kind: str, c: int, hidden: int, *, both: bool) -> None:
        super().__init__()
        made = nn.LSTM if kind == "lstm" else nn.GRU
        self.rnn = made(c, hidden, batch_first=True, bidirectional=both)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]
