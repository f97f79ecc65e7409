"""An exported file in the place of its model, so that the user's `evaluate` judges what is shipped."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

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
from penjing.run.rows import PLAIN, Rows, same


@dataclass(frozen=True)
class _Computed:
    """Stands among the leaves of a model's outputs where the file gives a tensor."""

    dtype: torch.dtype


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
        self._given = frozenset(self._signature.bind(*call.args, **call.kwargs).arguments)
        self._named = tuple(call.kwargs)
        self._inputs = feeds(call)
        self._arguments = self._leaves_of(*call.args, **call.kwargs)
        with torch.no_grad(), kept_modes(model):  # in training mode, it would change batch norms' statistics
            result = call.copy().run(model.eval())
            self._rows = Rows.of(model, call, result)
        leaves, self._structure = pytree.tree_flatten(result)
        self._leaves = [
            _Computed(leaf.dtype) if isinstance(leaf, Tensor) else _known(leaf) for leaf in leaves
        ]
        # A file whose sizes are free computes a batch as a whole, but tells only tensors of it.
        only_tensors = all(isinstance(leaf, Tensor | None) for leaf in leaves)
        self._free = form == "onnx" and only_tensors
        # Some code asks a model where its parameters are: an empty one answers.
        self.nothing = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the file.

        Raises:
            ValueError: the arguments are not those that the file was exported for, or what it gives for them
                is not what the model would give.
        """
        given = feeds(self._as_exported(*args, **kwargs))
        self._check(given, self._leaves_of(*args, **kwargs))
        found = self._session.run(given)
        if len(found) != sum(isinstance(leaf, _Computed) for leaf in self._leaves):
            raise ValueError(f"the exported file gives {len(found)} outputs, and the model has others")
        rest = iter(found)
        results = [
            torch.from_numpy(next(rest)).to(leaf.dtype) if isinstance(leaf, _Computed) else leaf
            for leaf in self._leaves
        ]
        return pytree.tree_unflatten(results, self._structure)

    def _check(self, given: Feeds, arguments: Mapping[str, Any]) -> None:
        """Refuses what the file cannot answer as the model does.

        Raises:
            ValueError: as `forward`.
        """
        if tuple(given) != tuple(self._inputs):
            raise ValueError(f"the exported file takes {', '.join(self._inputs)}; given {', '.join(given)}")
        if arguments.keys() != self._arguments.keys():
            raise ValueError("it is called with other arguments than the exported file was made for")
        for name, made_for in self._arguments.items():
            value = arguments[name]
            if isinstance(value, Tensor) != isinstance(made_for, Tensor) or not (
                isinstance(value, Tensor) or same(value, made_for)
            ):
                raise ValueError(f"the exported file was made for {name} = {made_for!r}, not {value!r}"[:400])
        for name, example in self._inputs.items():
            if given[name].dtype != example.dtype:
                raise ValueError(
                    f"the exported file takes `{name}` as {example.dtype}, not {given[name].dtype}"
                )
        if self._rows.values:
            raise ValueError(self._rows.values)
        as_example = all(given[name].shape == example.shape for name, example in self._inputs.items())
        if self._rows.sizes and not as_example and not self._free:
            raise ValueError(f"the exported file takes one size of batch, and {self._rows.sizes}")

    def _leaves_of(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Every leaf of the arguments by its place, defaults among them."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        places = pytree.tree_flatten_with_path(dict(bound.arguments))[0]
        return {pytree.keystr(path): leaf for path, leaf in places}

    def _as_exported(self, *args: Any, **kwargs: Any) -> Call:
        """The same arguments, by position or by name as in the call that the file was exported with.

        What that call left out is left out: it is compared with its default.
        """
        bound = self._signature.bind(*args, **kwargs)
        for name in bound.arguments.keys() - self._given:
            del bound.arguments[name]
        named = {name: bound.arguments.pop(name) for name in self._named if name in bound.arguments}
        return Call(bound.args, {**bound.kwargs, **named})


def _known(leaf: Any) -> Any:
    """An output that is no tensor: itself where it is plain, else what says that it is not there."""
    return leaf if isinstance(leaf, PLAIN) else _Absent()


class _Absent:
    """In the place of an object that a model returns, and a file does not: a cache of keys and values."""

    def _refuse(self, *_: object) -> Any:
        raise ValueError("the exported file gives tensors, not this object of the model's")

    __getattr__ = __getitem__ = __eq__ = __bool__ = __iter__ = __len__ = _refuse
    __hash__ = object.__hash__
