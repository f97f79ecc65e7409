"""Operators that multiply their input by one parameter: linear layers and convolutions, as matrices on rows.

Whatever its layout, each is `y[g, r, o] = sum over f of w[g, o, f] x[g, r, f] + b[g, o]`: `g` is a group, `r`
a position of the output (a token, a pixel), `o` an output of the group, `f` a feature that it reads. Gram
matrices, least squares and optimal brain surgery need no more than that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from penjing.network.arguments import bind, operator_name
from penjing.network.program import Trace

_CONVOLUTIONS = {f"aten.conv{n}d": n for n in (1, 2, 3)}


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input; one entry for every spatial dimension.

    Attributes:
        kernel: taps.
        stride: step from one output to the next.
        before: zeros that are put before the input.
        after: zeros that are put after it.
        dilation: step from one tap to the next.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(frozen=True)
class Projection:
    """One operator that multiplies by a parameter.

    Attributes:
        node: the operator.
        input: what it reads.
        weight: dotted name of the parameter.
        bias: that of what it adds; None for nothing.
        groups: of a convolution; 1 elsewhere.
        window: of a convolution; None where rows are the leading dimensions of the input.
        into: the weight's dimension of inputs.
        out: that of outputs.
    """

    node: fx.Node
    input: fx.Node
    weight: str
    bias: str | None
    groups: int
    window: Window | None
    into: int
    out: int

    @property
    def taps(self) -> int:
        """How many times an input channel is read for one output."""
        return math.prod(self.window.kernel) if self.window else 1

    def channel(self, value: Tensor) -> int:
        """The dimension of an input or output in which its channels lie."""
        return value.ndim - 1 if self.window is None else value.ndim - 1 - len(self.window.kernel)

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as [groups, outputs, features]; features count taps first, channels fastest."""
        if self.window is None:
            return (weight if self.out == 0 else weight.t()).unsqueeze(0)
        grouped = weight.unflatten(0, (self.groups, -1)).flatten(3)
        taps_first: Tensor = grouped.transpose(2, 3).flatten(2)
        return taps_first

    def shaped(self, matrix: Tensor, like: Tensor) -> Tensor:
        """The inverse of `matrix`, in the layout and type of the weight `like`."""
        if self.window is None:
            found = matrix[0] if self.out == 0 else matrix[0].t()
        else:
            taps = matrix.unflatten(2, (self.taps, -1)).transpose(2, 3)
            found = taps.flatten(0, 1).reshape(like.shape)
        return found.to(like.dtype).contiguous()

    def labels(self, units: tuple[int, ...]) -> tuple[int, ...]:
        """The unit of every feature, given that of every index along the weight's dimension `into`."""
        return units * self.taps

    def sample(self, value: Tensor, most: int, generator: torch.Generator) -> Tensor:
        """Rows of the output `value` to look at: `most` of them drawn in order, or all; int64 [rows]."""
        channel = self.channel(value)
        total = math.prod(size for dim, size in enumerate(value.shape) if dim != channel)
        if total <= most:
            return torch.arange(total)
        drawn: Tensor = torch.randint(total, (most,), generator=generator).sort().values
        return drawn

    def samples_of(self, rows: Tensor, value: Tensor) -> Tensor:
        """The index along the first dimension of the output `value` that each row belongs to."""
        if self.window is not None and self.channel(value) == 0:
            return torch.zeros_like(rows)
        return rows // max(1, math.prod(value.shape[1:]) // value.shape[self.channel(value)])

    def targets(self, value: Tensor, rows: Tensor) -> Tensor:
        """Rows of an output, [groups, rows, outputs]."""
        channels = value.movedim(self.channel(value), -1)
        picked = channels.reshape(-1, channels.shape[-1])[rows]
        grouped: Tensor = picked.unflatten(1, (self.groups, -1)).transpose(0, 1)
        return grouped

    def features(self, value: Tensor, rows: Tensor) -> Tensor:
        """What the operator reads of its input for each row, [groups, rows, features]."""
        if self.window is None:
            return value.reshape(-1, value.shape[-1])[rows].unsqueeze(0)
        single = value.ndim == len(self.window.kernel) + 1
        found = _patches(value.unsqueeze(0) if single else value, self.window, rows)
        if self.groups == 1:
            return found.flatten(1).unsqueeze(0)
        grouped: Tensor = found.unflatten(2, (self.groups, -1)).permute(2, 0, 1, 3).flatten(2)
        return grouped


def _patches(value: Tensor, window: Window, rows: Tensor) -> Tensor:
    """Rows [rows, taps, channels] of a padded input [batch, channels, *space]."""
    sides = [side for pair in zip(window.before, window.after, strict=True) for side in pair]
    paired = [sides[2 * n : 2 * n + 2] for n in range(len(window.kernel))]
    padded = F.pad(value, [side for pair in reversed(paired) for side in pair]).movedim(1, -1)
    _, *space, channels = padded.shape
    shapes = zip(space, window.kernel, window.stride, window.dilation, strict=True)
    outputs = [(size - dilation * (taps - 1) - 1) // stride + 1 for size, taps, stride, dilation in shapes]
    left, places = rows, []
    for size in reversed(outputs):
        places.append(left % size)
        left = left // size
    flat = left[:, None]
    for size, place, taps, stride, dilation in zip(
        space, reversed(places), window.kernel, window.stride, window.dilation, strict=True
    ):
        here = place[:, None] * stride + dilation * torch.arange(taps)
        flat = (flat[:, :, None] * size + here[:, None, :]).flatten(1)
    return padded.reshape(-1, channels)[flat.flatten()].view(len(rows), -1, channels)


def projections(trace: Trace) -> dict[fx.Node, Projection]:
    """Every operator of a graph that multiplies one tensor by one parameter, in order."""
    found = {}
    for node in trace.graph.nodes:
        if node.op == "call_function":
            read = _read(node, trace)
            if read is not None:
                found[node] = read
    return found


def readers(trace: Trace, held: Callable[[str], object]) -> Counter[int]:
    """By the identity of a parameter, how many operators read it, under all its names.

    Args:
        trace: the graph.
        held: dotted name -> the parameter.
    """
    found: Counter[int] = Counter()
    for node in trace.graph.nodes:
        if node.op == "placeholder" and node.name in trace.state:
            found[id(held(trace.state[node.name]))] += len(node.users)
    return found


def _read(node: fx.Node, trace: Trace) -> Projection | None:
    name = operator_name(node.target)
    if name == "aten.linear":
        arguments = bind(node)
        weight, bias = arguments["weight"], arguments["bias"]
        return _made(node, trace, arguments["input"], weight, bias, into=1, out=0)
    if name in ("aten.addmm", "aten.mm", "aten.matmul"):
        return _product(node, trace, name)
    if name in _CONVOLUTIONS:
        return _convolution(node, trace, _CONVOLUTIONS[name])
    return None


def _product(node: fx.Node, trace: Trace, name: str) -> Projection | None:
    """`x @ w`, the weight [inputs, outputs]."""
    arguments = bind(node)
    if name == "aten.addmm":
        if arguments["beta"] != 1 or arguments["alpha"] != 1:
            return None
        return _made(node, trace, arguments["mat1"], arguments["mat2"], arguments["self"], into=0, out=1)
    other = arguments["mat2" if name == "aten.mm" else "other"]
    return _made(node, trace, arguments["self"], other, None, into=0, out=1)


def _convolution(node: fx.Node, trace: Trace, dims: int) -> Projection | None:
    arguments = bind(node)
    weight = arguments["weight"]
    if not isinstance(weight, fx.Node):
        return None
    kernel = tuple(int(size) for size in weight.meta["val"].shape[2:])
    stride, dilation = _each(arguments["stride"], dims), _each(arguments["dilation"], dims)
    padding = arguments["padding"]
    if padding == "same":
        whole = tuple(step * (taps - 1) for step, taps in zip(dilation, kernel, strict=True))
        before = tuple(size // 2 for size in whole)
        after = tuple(size - size // 2 for size in whole)
    else:
        before = after = _each(0 if padding == "valid" else padding, dims)
    window = Window(kernel, stride, before, after, dilation)
    groups = int(arguments["groups"])
    return _made(
        node,
        trace,
        arguments["input"],
        weight,
        arguments["bias"],
        into=1,
        out=0,
        groups=groups,
        window=window,
    )


def _each(given: Any, dims: int) -> tuple[int, ...]:
    listed = tuple(given) if isinstance(given, list | tuple) else (given,)
    return tuple(int(entry) for entry in (listed * dims if len(listed) == 1 else listed))


def _made(
    node: fx.Node, trace: Trace, source: Any, weight: Any, bias: Any, *, into: int, out: int, **more: Any
) -> Projection | None:
    """None where what it multiplies by is computed, or no tensor comes in."""
    if not isinstance(source, fx.Node) or not isinstance(weight, fx.Node) or weight.name not in trace.state:
        return None
    if "window" not in more and weight.meta["val"].ndim != 2:
        return None
    held = trace.state.get(bias.name) if isinstance(bias, fx.Node) else None
    if bias is not None and (held is None or bias.meta["val"].ndim != 1):
        return None
    return Projection(
        node, source, trace.state[weight.name], held, more.get("groups", 1), more.get("window"), into, out
    )
