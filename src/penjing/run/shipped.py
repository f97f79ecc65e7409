"""An exported file in the place of its model, so that the user's `evaluate` judges what is shipped."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing.devices.compare import Array
from penjing.devices.feeds import Feeds, feeds
from penjing.devices.fixed import Fixed
from penjing.devices.form import Form
from penjing.devices.hls.emulator import Emulator
from penjing.devices.interpreter import Interpreter
from penjing.devices.session import Session
from penjing.network import Call
from penjing.network.batch import kept_modes

_COMPUTED: Final = object()
"""Stands among the leaves of a model's outputs where the file gives a tensor."""


class Runner(Protocol):
    """An artifact that is ready to run."""

    def run(self, feeds: Feeds) -> list[Array]:
        """Outputs, in order."""
        ...


RUNNERS: Mapping[Form, Callable[[Path, Call, int], Runner]] = MappingProxyType(
    {
        "onnx": lambda path, call, threads: Session(path, threads=threads),
        "pt2": lambda path, call, threads: Fixed.program(path, call),
        "aoti.pt2": lambda path, call, threads: Fixed.package(path, call),
        "tflite": lambda path, call, threads: Interpreter(path, threads=threads),
        "pte": lambda path, call, threads: Fixed.executorch(path, call, threads),
        "hls.zip": lambda path, call, threads: Emulator.read(path),
    }
)
"""What runs an artifact, by its form."""


class Shipped(nn.Module):
    """Calls an artifact as the model that it was exported from was called."""

    def __init__(self, path: Path, form: Form, model: nn.Module, call: Call, *, threads: int = 1) -> None:
        """Loads the file.

        Args:
            path: the exported file.
            form: of the file; a key of `RUNNERS`.
            model: what it was exported from: its signature and the structure of its outputs are taken over.
            call: the example inputs that it was exported with.
            threads: for the runtime.
        """
        super().__init__()
        self._session: Runner = RUNNERS[form](path, call, threads)
        self._signature = inspect.signature(model.forward)
        self._named = tuple(call.kwargs)
        self._inputs = tuple(feeds(call))
        with torch.no_grad(), kept_modes(model):  # in training mode, it would change batch norms' statistics
            leaves, self._structure = pytree.tree_flatten(call.run(model.eval()))
        self._leaves = [_COMPUTED if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        # Some code asks a model where its parameters are: an empty one answers.
        self.nothing = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the file.

        Raises:
            ValueError: the arguments are not those that the file was exported for.
        """
        given = feeds(self._as_exported(*args, **kwargs))
        if tuple(given) != self._inputs:
            raise ValueError(f"the exported file takes {', '.join(self._inputs)}; given {', '.join(given)}")
        found = iter(self._session.run(given))
        results = [torch.from_numpy(next(found)) if leaf is _COMPUTED else leaf for leaf in self._leaves]
        return pytree.tree_unflatten(results, self._structure)

    def _as_exported(self, *args: Any, **kwargs: Any) -> Call:
        """The same arguments, by position or by name as in the call that the file was exported with."""
        bound = self._signature.bind(*args, **kwargs)
        named = {name: bound.arguments.pop(name) for name in self._named if name in bound.arguments}
        return Call(bound.args, {**bound.kwargs, **named})
