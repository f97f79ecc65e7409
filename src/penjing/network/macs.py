"""Multiply-accumulate operations of an operator, from the shapes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

Shape = tuple[int, ...]
Formula = Callable[[Mapping[str, Any], Mapping[str, Shape], Sequence[Shape]], int]


def _linear(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    return math.prod(outputs[0]) * shapes["weight"][-1]


def _convolution(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    return math.prod(outputs[0]) * math.prod(shapes["weight"][1:])


def _transposed(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    return math.prod(shapes["input"]) * math.prod(shapes["weight"][1:])


def _any_convolution(
    arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]
) -> int:
    return (_transposed if arguments.get("transposed") else _convolution)(arguments, shapes, outputs)


def _matmul(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    names = ("mat1", "mat2", "batch1", "batch2", "vec", "mat")
    factors = [shapes[name] for name in names if name in shapes] or list(shapes.values())
    return math.prod(outputs[0]) * (factors[0][-1] if factors[0] else 1)


def _einsum(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    sizes: dict[str, int] = {}
    terms = arguments["equation"].replace(" ", "").split("->")[0].split(",")
    for term, shape in zip(terms, shapes.values(), strict=False):
        plain = term.replace("...", "")
        before = term.index("...") if "..." in term else len(term)
        hidden = len(shape) - len(plain)
        for place, letter in enumerate(plain):
            sizes[letter] = shape[place if place < before else place + hidden]
        for place in range(hidden if "..." in term else 0):
            sizes[f"...{hidden - place}"] = max(sizes.get(f"...{hidden - place}", 1), shape[before + place])
    return math.prod(sizes.values())


def _bilinear(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    out, left, right = shapes["weight"]
    return math.prod(shapes["input1"][:-1]) * out * right * (left + 1)


def _attention(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    query, key, value = shapes["query"], shapes["key"], shapes["value"]
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _recurrent(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    x = shapes.get("input") or shapes["data"]
    steps = math.prod(x[:-1])
    matrices = [shape for name, shape in shapes.items() if name.startswith("params") and len(shape) == 2]
    return steps * sum(math.prod(shape) for shape in matrices)


def _cell(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    return math.prod(shapes["input"][:-1]) * (math.prod(shapes["w_ih"]) + math.prod(shapes["w_hh"]))


FORMULAS: Mapping[str, Formula] = MappingProxyType(
    {
        "aten.linear": _linear,
        **dict.fromkeys(("aten.conv1d", "aten.conv2d", "aten.conv3d"), _convolution),
        **dict.fromkeys((f"aten.conv_transpose{n}d" for n in (1, 2, 3)), _transposed),
        **dict.fromkeys(("aten.convolution", "aten._convolution"), _any_convolution),
        **dict.fromkeys(("aten.matmul", "aten.mm", "aten.bmm", "aten.mv", "aten.dot", "aten.vdot"), _matmul),
        **dict.fromkeys(("aten.addmm", "aten.baddbmm", "aten.addbmm", "aten.addmv"), _matmul),
        "aten.einsum": _einsum,
        "aten.bilinear": _bilinear,
        "aten.scaled_dot_product_attention": _attention,
        "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
        **dict.fromkeys(("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu"), _recurrent),
        **dict.fromkeys(
            ("aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell"), _cell
        ),
    }
)
"""Operators that multiply and accumulate; all others count as none. A bias adds none."""
