"""How a traced graph is called: as its model was, by position or by name, with what it was traced with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network import Call

_TENSOR = object()


@dataclass(frozen=True)
class _Slot:
    """Where a leaf of the example inputs goes; and `_TENSOR`, or the value that the graph has in it."""

    place: int
    value: Any


class Calling:
    """Brings the arguments of any call into the order in which a graph takes them."""

    def __init__(self, model: nn.Module, call: Call) -> None:
        """Keeps the structure and the constants of the example inputs of `model`, not their tensors."""
        self._signature = inspect.signature(model.forward)
        found, structure = pytree.tree_flatten((call.args, call.kwargs))
        slots = [_Slot(i, _TENSOR if isinstance(x, torch.Tensor) else x) for i, x in enumerate(found)]
        args, kwargs = pytree.tree_unflatten(slots, structure)
        self._expected, self._count = self._by_name(args, kwargs), len(slots)

    def __deepcopy__(self, memo: dict[int, Any]) -> Calling:
        """Itself: it never changes."""
        return self

    def leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Flattened arguments of a call, in the order of the trace.

        Raises:
            PenjingError: PJ209, the graph was traced for other arguments.
        """
        try:
            given = self._by_name(args, kwargs)
        except TypeError as error:
            raise _refusal(str(error)) from error
        found: list[Any] = [None] * self._count
        _fill(self._expected, given, "", found)
        return found

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)


def _fill(expected: Any, given: Any, path: str, found: list[Any]) -> None:
    """Puts the leaves of `given`, which must be built like `expected`, where their slots say."""
    if isinstance(expected, _Slot):
        if isinstance(given, torch.Tensor) != (expected.value is _TENSOR):
            raise _refusal(f"`{path}` is a `{type(given).__name__}` now")
        if expected.value is not _TENSOR and given != expected.value:
            raise _refusal(f"`{path}` was {expected.value!r}, and is {given!r} now")
        found[expected.place] = given
    elif isinstance(expected, Mapping) and isinstance(given, Mapping):
        if expected.keys() != given.keys():
            raise _refusal(f"{f'`{path}`' if path else 'the call'} had {[*expected]}, and has {[*given]} now")
        for key, value in expected.items():
            _fill(value, given[key], f"{path}.{key}" if path else str(key), found)
    else:
        ours, structure = _children(expected)
        theirs, other = _children(given)
        if structure != other:
            raise _refusal(f"`{path}` is built otherwise now")
        if not ours and not (
            given is expected or (not isinstance(given, torch.Tensor) and given == expected)
        ):
            raise _refusal(f"`{path}` was not given, and is now")
        for place, (one, value) in enumerate(zip(ours, theirs, strict=True)):
            _fill(one, value, f"{path}[{place}]", found)


def _children(value: Any) -> tuple[list[Any], Any]:
    """Direct parts of a container that torch's pytrees know, and what it is; none of anything else."""
    parts, structure = pytree.tree_flatten(value, is_leaf=lambda inner: inner is not value)
    return ([], None) if parts and parts[0] is value else (parts, structure)


def _refusal(because: str) -> PenjingError:
    return PenjingError(
        "PJ209",
        "this network is a traced graph, and holds for what it was traced with",
        because=because,
        tries=["call it as the example inputs call the model", "cut the model again with such inputs"],
    )
