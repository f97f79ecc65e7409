"""The tensors of a call under the names that the exported model gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from penjing.network.call import Call

Feeds = dict[str, npt.NDArray[Any]]


def tensors(call: Call) -> dict[str, Tensor]:
    """Every tensor among the arguments, by name, in the order of the call.

    What stands under a key keeps that name (`mask`, or `pair_0` and `pair_1` where it holds two). A lone
    positional tensor is `input`; of several, the first is `input_0`.
    """
    positional = call.args[0] if len(call.args) == 1 else call.args
    return {name: leaf for name, leaf in _named(positional, call.kwargs, "input") if isinstance(leaf, Tensor)}


def feeds(call: Call) -> Feeds:
    """The same as arrays, ready for a runtime."""
    return {name: array(tensor) for name, tensor in tensors(call).items()}


def outputs(result: Any) -> dict[str, Tensor]:
    """Every tensor that a model returned, by name: `output`, `output_0`, or the key it stands under."""
    return {name: leaf for name, leaf in _named(result, {}, "output") if isinstance(leaf, Tensor)}


def array(tensor: Tensor) -> npt.NDArray[Any]:
    """The tensor's values; bfloat16, which numpy lacks, as float32."""
    plain = tensor.detach().cpu()
    values: npt.NDArray[Any] = (
        (plain.float() if plain.dtype == torch.bfloat16 else plain).contiguous().numpy()
    )
    return values


def _named(positional: Any, named: dict[str, Any], root: str) -> list[tuple[str, Any]]:
    """Leaves of both, each below its own name."""
    places = [
        *((_name(path, root), leaf) for path, leaf in pytree.tree_flatten_with_path(positional)[0]),
        *((_name(path, ""), leaf) for path, leaf in pytree.tree_flatten_with_path(named)[0]),
    ]
    found: dict[str, Any] = {}
    for name, leaf in places:  # `{"a.b": x, "a_b": y}`: both are `a_b`
        number = next(n for n in count() if (name if not n else f"{name}__{n}") not in found)
        found[name if not number else f"{name}__{number}"] = leaf
    return list(found.items())


def _name(path: Sequence[Any], root: str) -> str:
    """Below `input`: `("mask",)` -> `mask`; `(1,)` -> `input_1`; `("pair", 0)` -> `pair_0`."""
    name = root
    for key in path:
        entry = getattr(key, "key", getattr(key, "name", getattr(key, "idx", None)))
        text = re.sub(r"\W", "_", str(entry))
        name = text if isinstance(entry, str) and name == root else f"{name}_{text}".lstrip("_")
    return name
