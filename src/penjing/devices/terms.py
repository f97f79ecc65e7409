"""What the time of an operator is made of, as quantities whose rates are to be fitted.

A rate is named `family:what|detail`. Rates of one `family:what` start from a common value and part only as
far as measurements say (`fit`). Quantities are in units that put rates near one: 100 million operations, 10
million bytes, 1000 calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from penjing.devices.stairs import Stairs, ceil_to
from penjing.network import Operator

Shape = tuple[int, ...]
Terms = dict[str, float]
Family = Callable[["Sized"], Terms]

_MACS: Final = 1e8
_BYTES: Final = 1e7
_CALLS: Final = 1e3
_WORD: Final = 4  # bytes of a float32


@dataclass(frozen=True)
class Sized:
    """An operator at some choice of widths, on some device."""

    operator: Operator
    inputs: Mapping[str, Shape]
    outputs: Sequence[Shape]
    macs: int
    stairs: Stairs


def terms_of(operator: Operator, counts: Mapping[str, int], stairs: Stairs) -> Terms:
    """The quantities of one operator, by the name of their rate, at `counts` kept units of its axes."""
    sized = Sized(
        operator, operator.inputs_at(counts), operator.outputs_at(counts), operator.macs_at(counts), stairs
    )
    return FAMILIES.get(kind(operator), _other)(sized)


def kind(operator: Operator) -> str:
    """`aten.relu_.default` -> `relu`."""
    return operator.target.removeprefix("aten.").split(".")[0].rstrip("_")


def is_depthwise(ins: Any, groups: int) -> bool:
    """Whether a convolution of so many input channels a group has a kernel for each of them."""
    return groups > 1 and isinstance(ins, int) and ins == 1


def padded_channels(outs: Any, ins: Any, groups: int, stairs: Stairs) -> tuple[Any, Any]:
    """Output channels, and input channels of a group, as the device computes them; they may be arrays.

    Few input channels (the first layer's) are not padded, nor are those of groups.
    """
    wider, deeper = ceil_to(outs, stairs.conv_out) - outs, ceil_to(ins, stairs.conv_in) - ins
    if is_depthwise(ins, groups):
        return outs + wider * (outs % stairs.depthwise_even == 0), 1
    if groups > 1:
        return outs, ins
    few, even = ins < stairs.conv_in, ins % stairs.conv_even == 0
    return outs + wider * (few | even), ins + deeper * ((ins >= stairs.conv_in) & even)


def _convolution(at: Sized) -> Terms:
    """Dense: multiply-accumulates over padded channels; the rate depends on kernel, stride and image.

    With an odd number of input channels the runtime unfolds the image into columns instead, which has rates
    of its own. A kernel over few channels is another thing again.
    """
    outs, ins, *taps = at.inputs["weight"]
    batch, _, *image = at.outputs[0]
    stairs, groups = at.stairs, int(at.operator.arguments.get("groups") or 1)
    if groups > 1 and ins == 1:
        return _depthwise(at)
    places = batch * math.prod(image) * math.prod(taps)
    moved = {
        "conv:bytes": _bytes(at.inputs["input"], at.outputs[0]),
        "conv:weights": _bytes(at.inputs["weight"]),
        "conv:calls": 1 / _CALLS,
    }
    blocked = ins < stairs.conv_in or ins % stairs.conv_even == 0
    if groups > 1:
        blocked = ins % stairs.conv_in == 0 and (outs // groups) % stairs.conv_out == 0
    if not blocked:
        return {
            f"conv_odd:macs|{_by(taps)}": places * ins * outs / _MACS,
            "conv_odd:columns": places * ins * groups * _WORD / _BYTES,
            **moved,
        }
    outs, ins = padded_channels(outs, ins, groups, stairs)
    family = "conv_few" if ins < stairs.conv_in else "conv"
    return {f"{family}:macs|{_window(at, taps)}@{_by(image)}": places * ins * outs / _MACS, **moved}


def _depthwise(at: Sized) -> Terms:
    """One kernel a channel: by the elements of the padded output times taps, and by bytes."""
    outs, ins, *taps = at.inputs["weight"]
    batch, _, *image = at.outputs[0]
    family = "depthwise_odd" if outs % at.stairs.depthwise_even else "depthwise"
    channels, _ = padded_channels(outs, ins, outs, at.stairs)
    return {
        f"{family}:macs|{_window(at, taps)}": batch * math.prod(image) * math.prod(taps) * channels / _MACS,
        f"{family}:bytes": _bytes(at.inputs["input"], at.outputs[0]),
        f"{family}:channels": batch * outs / _CALLS,
        "depthwise:calls": 1 / _CALLS,
    }


def _linear(at: Sized) -> Terms:
    """A matrix of weights on rows: multiply-accumulates over padded output features.

    Widths that are no multiple of the runtime's step have a rate of their own: their tails are computed in
    another way.
    """
    *rows, outs = at.outputs[0]
    count = math.prod(rows)
    features, step = at.macs // max(1, count * outs), at.stairs.linear_out
    ragged = " ragged" if features % step or outs % step else ""
    return {
        f"linear:macs|{count}{ragged}": count * features * ceil_to(outs, step) / _MACS,
        "linear:bytes": _bytes((count, features), at.outputs[0]),
        "linear:weights": _bytes((features, outs)),
        "linear:calls": 1 / _CALLS,
    }


def _attention(at: Sized) -> Terms:
    """Two products with a softmax of queries by keys between them; heads are transposed on the way."""
    query, key, value = at.inputs["query"], at.inputs["key"], at.inputs["value"]
    scores = (*query[:-1], key[-2])
    width = query[-1] + ceil_to(value[-1], at.stairs.linear_out)
    return {
        "attention:macs": math.prod(scores) * width / _MACS,
        "attention:scores": _bytes(scores),
        "attention:bytes": _bytes(query, key, value, at.outputs[0]),
        "attention:calls": 1 / _CALLS,
    }


def _recurrent(at: Sized) -> Terms:
    """Step by step: every step reads all weights."""
    x = at.inputs.get("input") or at.inputs["data"]
    steps = max(x[:-1])
    weights = [shape for name, shape in at.inputs.items() if name.startswith(("params", "w_"))]
    return {
        "recurrent:macs": at.macs / _MACS,
        "recurrent:weights": steps * _bytes(*weights),
        "recurrent:calls": steps * len(weights) / _CALLS,
    }


def _view(at: Sized) -> Terms:
    """Moves nothing; the call remains."""
    return {"view:calls": 1 / _CALLS}


def _other(at: Sized) -> Terms:
    """Anything else: by the bytes that go in and out, and by multiplications if it has any."""
    name = kind(at.operator)
    terms = {f"{name}:bytes": _bytes(*at.inputs.values(), *at.outputs), "other:calls": 1 / _CALLS}
    return {f"{name}:macs": at.macs / _MACS, **terms} if at.macs else terms


def _bytes(*shapes: Shape) -> float:
    return _WORD * sum(math.prod(shape) for shape in shapes) / _BYTES


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)


def _window(at: Sized, taps: Sequence[int]) -> str:
    return f"{_by(taps)}/{_by(at.operator.arguments.get('stride') or [1])}"


VIEWS: Final = frozenset(
    {"view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "expand"}
)
"""Operators that move nothing."""

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
        **dict.fromkeys(("linear", "addmm", "mm"), _linear),
        **dict.fromkeys(
            ("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu"), _attention
        ),
        **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
        **dict.fromkeys(
            ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "expand"),
            _view,
        ),
    }
)
"""Operators whose time is not simply that of their bytes."""
