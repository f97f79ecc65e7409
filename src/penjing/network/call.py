"""How a model is called: the example inputs as positional and named arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError


@dataclass(frozen=True)
class Call:
    """Arguments of one call of a model.

    Attributes:
        args: positional arguments.
        kwargs: named arguments.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, example_inputs: Any) -> Call:
        """Reads example inputs as `model` would be called with them.

        Args:
            model: the model; its `forward` tells whether a mapping is one argument or names several.
            example_inputs: a tensor (one argument), a tuple or list (several), or a mapping (named ones).

        Raises:
            PenjingError: PJ101, the arguments do not fit the signature of `forward`.
        """
        call = cls._read(model, example_inputs)
        signature = inspect.signature(model.forward)
        try:
            signature.bind(*call.args, **call.kwargs)
        except TypeError as error:
            raise PenjingError(
                "PJ101",
                f"`{type(model).__name__}` cannot be called with these example inputs",
                because=f"{error}; forward takes {signature}",
                tries=["give a tensor, a tuple of positional arguments, or a dict of named ones"],
            ) from error
        return call

    @classmethod
    def _read(cls, model: nn.Module, given: Any) -> Call:
        if isinstance(given, Call):
            return given
        if isinstance(given, Mapping):
            parameters = inspect.signature(model.forward).parameters.values()
            named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
            if set(given) <= named or any(p.kind is p.VAR_KEYWORD for p in parameters):
                return cls((), dict(given))
            return cls((given,))
        if isinstance(given, tuple | list):
            return cls(tuple(given))
        return cls((given,))

    def run(self, model: nn.Module) -> Any:
        """Calls `model`."""
        return model(*self.args, **self.kwargs)

    def map(self, function: Any) -> Call:
        """The same call with `function` applied to every leaf of the arguments."""
        args, kwargs = pytree.tree_map(function, (self.args, self.kwargs))
        return Call(args, kwargs)

    def copy(self) -> Call:
        """The same call on copies of its tensors, for code that may write into them."""
        return self.map(lambda leaf: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf)
