"""Layers that rearrange channels, as users write them: for images (b, c, h, w) or tokens (b, t, c)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.equivalence.generated.sized import Sized


class Chunk(Sized):
    """`x.chunk(n, dim)`: equal pieces, or a shorter last one."""

    def __init__(self, pieces: int, dim: int) -> None:
        super().__init__()
        self.pieces, self.dim = pieces, dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.chunk(x, self.pieces, dim=self.dim)


class Split(Sized):
    """`x.split(sizes, dim)`."""

    def __init__(self, sizes: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.sizes, self.dim = sizes, dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, list(self.sizes), dim=self.dim)


class Narrow(Sized):
    """`x[:, start:end]`, or `x[..., start:end]` for tokens."""

    def __init__(self, start: int, end: int, dim: int) -> None:
        super().__init__()
        self.start, self.end, self.dim = start, end, dim

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.end] if self.dim == 1 else x[..., self.start : self.end]


class Interleaved(Sized):
    """`x[:, ::2], x[:, 1::2]`: every second channel, and the others."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.dim == 1:
            return x[:, ::2], x[:, 1::2]
        return x[..., ::2], x[..., 1::2]


class Join(Sized):
    """`torch.cat(values, dim)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *values: Tensor) -> Tensor:
        return torch.cat(values, dim=self.dim)


class SelfJoin(Sized):
    """A value beside itself: plain, CReLU's positive and negative part, or beside its activation."""

    def __init__(self, how: str, dim: int) -> None:
        super().__init__()
        self.how, self.dim = how, dim

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "same":
            return torch.cat([x, x], self.dim)
        if self.how == "crelu":
            return F.relu(torch.cat((x, -x), self.dim))
        return torch.cat((torch.tanh(x), x), self.dim)


class Add(nn.Module):
    """Residual: the sum of values of one shape."""

    def forward(self, *values: Tensor) -> Tensor:
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total


class Gate(nn.Module):
    """One value gates another."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * torch.sigmoid(y)


class StackMean(nn.Module):
    """Branches stacked and averaged, as in ensembles of heads."""

    def forward(self, *values: Tensor) -> Tensor:
        return torch.stack(values, dim=1).mean(dim=1)


class Blend(nn.Module):
    """Two branches weighed by learnt scalars."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.7, -0.4]))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        w = self.weight.softmax(0)
        return x * w[0] + y * w[1]


class Glu(Sized):
    """`F.glu`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(x, self.dim)


class ChunkGate(Sized):
    """GLU written out: the halves are chunked or sliced, one gates the other."""

    def __init__(self, how: str, dim: int) -> None:
        super().__init__()
        self.how, self.dim = how, dim

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "chunk":
            a, b = x.chunk(2, self.dim)
        elif self.dim == 1:
            half = x.shape[1] // 2
            a, b = x[:, :half], x[:, half:]
        else:
            a, b = x.split(x.size(-1) // 2, -1)
        return a * F.gelu(b)


class Repeat(Sized):
    """Channels repeated: as a block (`repeat`) or one by one (`repeat_interleave`)."""

    def __init__(self, times: int, dim: int, *, interleave: bool) -> None:
        super().__init__()
        self.times, self.dim, self.interleave = times, dim, interleave

    def forward(self, x: Tensor) -> Tensor:
        if self.interleave:
            return x.repeat_interleave(self.times, dim=self.dim)
        repeats = [1] * x.dim()
        repeats[self.dim] = self.times
        return x.repeat(*repeats)


class RollChannels(Sized):
    """`torch.roll` along channels."""

    def __init__(self, shift: int, dim: int) -> None:
        super().__init__()
        self.shift, self.dim = shift, dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.roll(x, self.shift, dims=self.dim)


class FlipChannels(Sized):
    """`x.flip(dim)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(self.dim)


class Permute(Sized):
    """Channels in a fixed random order: a lookup by a table that is a buffer."""

    def __init__(self, table: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("table", torch.tensor(table))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.table] if self.dim == 1 else x[..., self.table]


class Activation(Sized):
    """One activation by name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return getattr(F, self.name)(x)
