"""Operators that multiply their input by one parameter: linear layers and convolutions, as matrices on rows.

Whatever its layout, each is `y[g, r, o] = sum over f of w[g, o, f] x[g, r, f] + b[g, o]`: `g` is a group, `r`
a position of the output (a token, a pixel), `o` an output of the group, `f` a feature that it reads. Gram
matrices, least squares and optimal brain surgery need no more than that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from penjing.network.arguments import bind, operator_name
from penjing.network.program import Trace

_ROWS_PER_FEATURE = 16
_MOST_READ = 2**26

_CONVOLUTIONS = {f"aten.conv{n}d": n for n in (1, 2, 3)}
_TRANSPOSED = {"aten.conv_transpose1d": 1, "aten.conv_transpose2d": 2, "aten.conv_transpose3d": 3}
_TURNS = frozenset({"aten.t", "aten.numpy_T", "aten.transpose", "aten.permute"})
_MULTIPLY = frozenset({"aten.linear", *_CONVOLUTIONS, *_TRANSPOSED})


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input; one entry for every spatial dimension.

    Attributes:
        kernel: taps.
        stride: step from one output to the next.
        before: zeros that are put before the input; less than none cuts it off.
        after: zeros that are put after it; likewise.
        dilation: step from one tap to the next.
        spread: step from one input to the next, with zeros between; more than 1 in a transposed convolution,
            which is a convolution of the spread input with taps in the opposite order.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    spread: tuple[int, ...]


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
        if self.out:
            grouped = grouped.transpose(1, 2).flip(3)
        taps_first: Tensor = grouped.transpose(2, 3).flatten(2)
        return taps_first

    def shaped(self, matrix: Tensor, like: Tensor) -> Tensor:
        """The inverse of `matrix`, in the layout and type of the weight `like`."""
        if self.window is None:
            found = matrix[0] if self.out == 0 else matrix[0].t()
        else:
            taps = matrix.unflatten(2, (self.taps, -1)).transpose(2, 3)
            if self.out:
                taps = taps.transpose(1, 2).flip(3)
            found = taps.flatten(0, 1).reshape(like.shape)
        return found.to(like.dtype).contiguous()

    def grouped(self, weight: Tensor, value: Tensor, output: Tensor) -> Projection:
        """The same operator where groups may have gone: with a `weight`, input and output of other widths."""
        if self.window is None:
            return self
        whole = output if self.out else value
        return replace(self, groups=whole.shape[self.channel(whole)] // weight.shape[1])

    def read_by(self, units: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The unit of every feature, for each group.

        Args:
            units: that of every index along the weight's dimension `into`.
        """
        if self.into:
            return [units * self.taps] * self.groups
        each = len(units) // self.groups
        return [units[first : first + each] * self.taps for first in range(0, len(units), each)]

    def made_by(self, units: tuple[int, ...]) -> tuple[int, ...]:
        """The unit of every output, group after group.

        Args:
            units: that of every index along the weight's dimension `out`.
        """
        return units * self.groups if self.out else units

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


def _spread(value: Tensor, steps: tuple[int, ...]) -> Tensor:
    """An input [batch, channels, *space] with zeros between its entries."""
    if all(step == 1 for step in steps):
        return value
    space = value.shape[2:]
    wide = value.new_zeros(
        (*value.shape[:2], *((n - 1) * step + 1 for n, step in zip(space, steps, strict=True)))
    )
    wide[(slice(None), slice(None), *(slice(None, None, step) for step in steps))] = value
    return wide


def _patches(value: Tensor, window: Window, rows: Tensor) -> Tensor:
    """Rows [rows, taps, channels] of a padded input [batch, channels, *space]."""
    value = _spread(value, window.spread)
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


def enough_rows(groups: int, features: int, most: int) -> int:
    """How many positions of an operator to look at.

    Args:
        groups: that read apart from one another.
        features: that each of them reads.
        most: for a layer of few features.

    Returns:
        16 for every feature, or more, up to `most`, as long as what is read stays below 256 MiB.
    """
    return max(_ROWS_PER_FEATURE * features, min(most, _MOST_READ // max(1, groups * features)))


def projections(trace: Trace) -> dict[fx.Node, Projection]:
    """Every operator of a graph that multiplies one tensor by one parameter, in order."""
    found = {}
    for node in trace.graph.nodes:
        if node.op == "call_function":
            read = _read(node, trace)
            if read is not None:
                found[node] = read
    return found


def readers(trace: Trace, held: Callable[[str], Tensor]) -> Callable[[Tensor], int]:
    """How many operators read a parameter, under all its names and through others that share its memory.

    Args:
        trace: the graph.
        held: dotted name -> the parameter.
    """
    found: Counter[int] = Counter()
    for node in trace.graph.nodes:
        if node.op == "placeholder" and node.name in trace.state:
            found[_place(held(trace.state[node.name]))] += _uses(node)
    return lambda tensor: found[_place(tensor)]


def _uses(node: fx.Node) -> int:
    return sum(_uses(user) if _turned(user) else 1 for user in node.users)


def _turned(node: fx.Node) -> bool:
    """Whether it is a matrix with rows and columns exchanged."""
    name = operator_name(node.target) if node.op == "call_function" else ""
    if name not in _TURNS or node.args[0].meta["val"].ndim != 2:  # type: ignore[union-attr]
        return False
    if name == "aten.permute":
        first, _ = cast(Sequence[int], node.args[1])
        return first % 2 == 1
    return len({cast(int, dim) % 2 for dim in node.args[1:]}) != 1


def _place(tensor: Tensor) -> int:
    """Where it lies; one that has no memory (on `meta`) is known by itself."""
    return tensor.data_ptr() or id(tensor)


def computed(trace: Trace) -> list[str]:
    """Parameters from which weights of linear layers and convolutions are computed (weight norm), by name."""
    found: dict[str, None] = {}
    for node in trace.graph.nodes:
        weight = bind(node).get("weight") if operator_name(node.target) in _MULTIPLY else None
        if isinstance(weight, fx.Node) and weight.op == "call_function":
            found.update(dict.fromkeys(_parameters(weight, trace)))
    return list(found)


def _parameters(node: fx.Node, trace: Trace) -> list[str]:
    """All that a value is computed from; none where the inputs of the network are among it."""
    seen: dict[fx.Node, None] = {}
    left = [node]
    while left:
        here = left.pop()
        if here not in seen:
            seen[here] = None
            left += reversed(here.all_input_nodes)
    if any(one.name in trace.inputs for one in seen):
        return []
    return [trace.state[one.name] for one in seen if one.name in trace.state]


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
    if name in _TRANSPOSED:
        return _transposed(node, trace, _TRANSPOSED[name])
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
    window = Window(kernel, stride, before, after, dilation, (1,) * dims)
    groups = int(arguments["groups"])
    bias = arguments["bias"]
    return _made(node, trace, arguments["input"], weight, bias, into=1, out=0, groups=groups, window=window)


def _transposed(node: fx.Node, trace: Trace, dims: int) -> Projection | None:
    """The weight is [inputs, outputs per group, *taps]; see Dumoulin and Visin 2016, arXiv:1603.07285, 4."""
    arguments = bind(node)
    weight = arguments["weight"]
    if not isinstance(weight, fx.Node):
        return None
    kernel = tuple(int(size) for size in weight.meta["val"].shape[2:])
    stride, dilation = _each(arguments["stride"], dims), _each(arguments["dilation"], dims)
    padding, more = _each(arguments["padding"], dims), _each(arguments["output_padding"], dims)
    before = tuple(d * (taps - 1) - p for d, taps, p in zip(dilation, kernel, padding, strict=True))
    after = tuple(side + extra for side, extra in zip(before, more, strict=True))
    window = Window(kernel, (1,) * dims, before, after, dilation, stride)
    groups, bias = int(arguments["groups"]), arguments["bias"]
    return _made(node, trace, arguments["input"], weight, bias, into=0, out=1, groups=groups, window=window)


def _each(given: Any, dims: int) -> tuple[int, ...]:
    listed = tuple(given) if isinstance(given, list | tuple) else (given,)
    return tuple(int(entry) for entry in (listed * dims if len(listed) == 1 else listed))


def _made(
    node: fx.Node, trace: Trace, source: Any, weight: Any, bias: Any, *, into: int, out: int, **more: Any
) -> Projection | None:
    """None where what it multiplies by is computed, or no tensor comes in."""
    if not isinstance(source, fx.Node) or not isinstance(weight, fx.Node):
        return None
    while _turned(weight):
        weight, into, out = cast(fx.Node, weight.args[0]), out, into
    if weight.name not in trace.state:
        return None
    if "window" not in more and weight.meta["val"].ndim != 2:
        return None
    held = trace.state.get(bias.name) if isinstance(bias, fx.Node) else None
    if bias is not None and (held is None or bias.meta["val"].ndim != 1):
        return None
    return Projection(
        node, source, trace.state[weight.name], held, more.get("groups", 1), more.get("window"), into, out
    )
