"""Values that depend on neither the inputs nor the parameters: index tables, position ids, masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from penjing.network.trace import Trace

_LARGEST = 1 << 22


class Constants:
    """Computes such values when a rule asks for them, each once."""

    def __init__(self, trace: Trace, module: torch.nn.Module) -> None:
        self._values: dict[fx.Node, torch.Tensor | None] = {}
        self._trace = trace
        self._position = {node: place for place, node in enumerate(trace.graph.nodes)}
        self._buffers = dict(module.named_buffers(remove_duplicate=False))

    def value(self, node: fx.Node) -> torch.Tensor | None:
        """The value of `node`, or None where it is not constant (or too large to be an index table)."""
        order: list[fx.Node] = []
        stack, seen = [node], {node}
        while stack:
            at = stack.pop()
            if at in self._values:
                continue
            order.append(at)
            for source in at.all_input_nodes:
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        for at in sorted(order, key=self._position.__getitem__):
            self._values[at] = self._compute(at)
        return self._values[node]

    def _compute(self, node: fx.Node) -> torch.Tensor | None:
        if node.op == "placeholder":
            return self._held(node.name)
        meta = node.meta.get("val")
        if isinstance(meta, torch.Tensor) and (meta.numel() > _LARGEST or _is_real(meta)):
            return None
        if any(self._values[source] is None for source in node.all_input_nodes):
            return None

        def known(source: fx.Node) -> Any:
            return self._values[source]

        args, kwargs = fx.map_arg(node.args, known), fx.map_arg(node.kwargs, known)
        if not isinstance(meta, torch.Tensor) or not callable(node.target):
            return None
        if _mutates(node) or any(_mutates(user) for user in node.users if user.op == "call_function"):
            return None
        if "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        with torch.no_grad():
            found = node.target(*args, **kwargs)
        return found if isinstance(found, torch.Tensor) and not found.is_meta else None

    def _held(self, name: str) -> torch.Tensor | None:
        if name in self._trace.constants:
            tensor = self._trace.constants[name][1]
        else:
            found = self._buffers.get(self._trace.state.get(name, ""))
            if found is None:
                return None
            tensor = found
        if tensor.is_meta or _is_real(tensor):
            return None
        return tensor.detach().cpu()


def _is_real(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable
