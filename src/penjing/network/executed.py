"""One execution of a model, seen operator by operator: which module calls, and where values leave torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from penjing.network.call import Call
from penjing.network.outputs import flatten
from penjing.network.source import here

_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]
_EXITS = (
    torch.Tensor.numpy,
    torch.Tensor.__array__,
    torch.Tensor.tolist,
    torch.Tensor.__dlpack__,
    torch.Tensor.data_ptr,
)


class Execution:
    """Runs a model under the tracer and notes what the graph alone does not tell.

    Attributes:
        leaves: what the model returned, flattened.
        structure: the structure of that.
        modules: graph node -> the modules, outermost first, that were running when it was made.
        exit: where real values were first handed to other code than torch's, "" if nowhere.
    """

    def __init__(self, model: nn.Module, call: Call) -> None:
        """Notes every tensor that there is before the model runs."""
        self._model, self._call = model, call
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._running: list[nn.Module] = []
        self._last: fx.Node | None = None
        self._old = {id(held): held for held in gc.get_objects() if issubclass(type(held), torch.Tensor)}
        self.leaves: list[Any] = []
        self.structure: pytree.TreeSpec | None = None
        self.modules: dict[fx.Node, tuple[nn.Module, ...]] = {}
        self.exit = ""

    def run(self, *brought: torch.Tensor) -> list[torch.Tensor]:
        """Runs the model; what is `brought` is in its place already, and only makes the tracer know it."""
        mode = get_proxy_mode()
        assert mode is not None
        graph = mode.tracer.graph
        with self._watched(graph), _Boundary(self):
            outputs = self._call.run(self._model)
        self._attribute(graph)
        self.leaves, self.structure = flatten(outputs)
        return [leaf for leaf in self.leaves if isinstance(leaf, torch.Tensor)]

    def made(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor was made during the run."""
        return id(tensor) not in self._old

    def stack(self, node: fx.Node) -> dict[str, tuple[str, type]]:
        """The modules that called the operator, as `torch.export` notes them."""
        modules = self.modules.get(node, ())
        paths = [(self._paths.get(id(module), ""), type(module)) for module in modules]
        return {path or "root": (path, kind) for path, kind in paths}

    @contextmanager
    def _watched(self, graph: fx.Graph) -> Iterator[None]:
        def enters(module: nn.Module, args: Any) -> None:
            self._attribute(graph)
            if id(module) in self._paths:
                self._running.append(module)

        def leaves(module: nn.Module, args: Any, outputs: Any) -> None:
            self._attribute(graph)
            if module in self._running:
                del self._running[self._running.index(module) :]

        handles = (
            register_module_forward_pre_hook(enters),
            register_module_forward_hook(leaves, always_call=True),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _attribute(self, graph: fx.Graph) -> None:
        """Gives the nodes made since the last time to the modules that are running."""
        node = self._last.next if self._last is not None else next(iter(graph.nodes))
        while node.op != "root":
            self.modules[node] = tuple(self._running)
            self._last, node = node, node.next


class _Boundary(TorchFunctionMode):
    """Sees values leave torch, and keeps `tensor.data` inside of the graph."""

    def __init__(self, execution: Execution) -> None:
        super().__init__()
        self._execution = execution

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == _DATA:
            return args[0].detach()
        if func in _EXITS and args[0].is_floating_point() and not self._execution.exit:
            self._execution.exit = here()
        return func(*args, **(kwargs or {}))
