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
    """The last dimension of the left operand is summed over: `self`, but for operators that add `self`."""
    left = next(shapes[name] for name in ("mat1", "batch1", "mat", "self", "input") if name in shapes)
    return math.prod(outputs[0]) * left[-1]


def _addbmm(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    return math.prod(shapes["batch1"]) * shapes["batch2"][-1]


def _tensordot(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    summed: list[int] = [shapes["self"][dim] for dim in arguments["dims_self"]]
    return math.prod(outputs[0]) * math.prod(summed)


def _einsum(arguments: Mapping[str, Any], shapes: Mapping[str, Shape], outputs: Sequence[Shape]) -> int:
    """Operands are multiplied two by two from the left, each index summed away as soon as nobody needs it."""
    left, arrow, right = arguments["equation"].replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    operands: list[set[str]] = []
    for term, shape in zip(left.split(","), shapes.values(), strict=True):
        letters = _letters(term, len(shape))
        operands.append(set(letters))
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    joined = [letter for operand in operands for letter in operand]
    once = {letter for letter in joined if joined.count(letter) == 1 or letter.startswith(".")}
    kept = set(_letters(right, len(outputs[0]))) if arrow else once
    macs, so_far = 0, operands[0]
    for place, operand in enumerate(operands[1:], start=2):
        together = so_far | operand
        left_over = together & kept.union(*operands[place:])
        if left_over != together:  # else nothing is summed: a mere product of elements
            macs += math.prod(sizes[letter] for letter in together)
        so_far = left_over
    return macs


def _letters(term: str, rank: int) -> list[str]:
    """A name for each dimension of a term; those of the ellipsis are counted from its end."""
    before, ellipsis, after = term.partition("...")
    hidden = rank - len(before) - len(after) if ellipsis else 0
    return [*before, *(f"..{hidden - place}" for place in range(hidden)), *after]


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
        **dict.fromkeys(("aten.addmm", "aten.baddbmm", "aten.addmv", "aten.inner"), _matmul),
        **dict.fromkeys(("aten._grouped_mm", "transformers.grouped_mm_fallback"), _matmul),
        "aten.addbmm": _addbmm,
        "aten.tensordot": _tensordot,
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
