"""A recorded graph, with all that comes from outside brought in by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode

from penjing.network.executed import Execution


class Recorded:
    """The recorded graph with everything that comes from outside as a named placeholder.

    Attributes:
        graph: the operators.
        state: placeholder name -> dotted name in the module.
        constants: placeholder name -> (name, tensor).
        fresh: constants that were made during the run, not read from the model.
    """

    def __init__(self, execution: Execution) -> None:
        self.graph = fx.Graph()
        self.state: dict[str, str] = {}
        self.constants: dict[str, tuple[str, torch.Tensor]] = {}
        self.fresh: list[torch.Tensor] = []
        self._execution = execution
        self._values: dict[fx.Node, fx.Node] = {}

    def bring_state(self, name: str, tensor: torch.Tensor, old: fx.Node) -> None:
        """A parameter or buffer; one that has several names comes once under each."""
        kind = "p" if isinstance(tensor, nn.Parameter) else "b"
        node = self._bring(f"{kind}_{name.replace('.', '_')}", old.meta["val"])
        self.state[node.name] = name
        self._values.setdefault(old, node)

    def bring_input(self, name: str, leaf: Any, old: fx.Node | None) -> fx.Node:
        """One leaf of the user's inputs."""
        node = self._bring(name, old.meta["val"] if old is not None else leaf)
        if old is not None:
            self._values[old] = node
        return node

    def bring_constants(self, traced: fx.GraphModule, model: nn.Module) -> None:
        """Tensors that the code read from elsewhere, or made from numbers."""
        attributes = {id(tensor): name for name, tensor in _plain_tensors_of(model)}
        seen: dict[int, fx.Node] = {}
        for old in traced.graph.nodes:
            if old.op != "get_attr":
                continue
            tensor = getattr(traced, str(old.target))
            if id(tensor) not in seen:
                name = attributes.get(id(tensor), f"lifted_tensor_{len(self.constants)}")
                seen[id(tensor)] = self._bring(f"c_{name.replace('.', '_')}", _fake(tensor))
                self.constants[seen[id(tensor)].name] = (name, tensor)
                if self._execution.made(tensor):
                    self.fresh.append(tensor)
            self._values[old] = seen[id(tensor)]

    def operators(self, graph: fx.Graph) -> None:
        """Copies every operator that an output or a change in place needs, and the outputs."""
        needed = _needed(graph)
        for old in graph.nodes:
            if old.op == "call_function" and old in needed:
                new = self.graph.node_copy(old, self._values.__getitem__)
                new.meta = {"val": old.meta.get("val"), "nn_module_stack": self._execution.stack(old)}
                self._values[old] = new
            elif old.op == "output":
                tensors = iter(old.args[0])
                leaves = self._execution.leaves
                self.graph.output(
                    tuple(
                        self._values[next(tensors)] if isinstance(leaf, torch.Tensor) else leaf
                        for leaf in leaves
                    )
                )

    def depends_on(self, inputs: Sequence[fx.Node]) -> bool:
        """Whether any output is computed from any of `inputs`."""
        reached = set(inputs)
        for node in self.graph.nodes:
            if not reached.isdisjoint(node.all_input_nodes):
                reached.add(node)
        return any(node.op == "output" for node in reached)

    def _bring(self, name: str, value: Any) -> fx.Node:
        node = self.graph.placeholder(name)
        node.meta["val"] = value
        return node


def _needed(graph: fx.Graph) -> set[fx.Node]:
    """Operators whose results reach an output, and those that change a tensor in place."""
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        mutates = isinstance(node.target, OpOverload) and node.target._schema.is_mutable
        if node.op == "output" or mutates or not needed.isdisjoint(node.users):
            needed.add(node)
    return needed


def _plain_tensors_of(model: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    """Tensors that modules hold as mere attributes."""
    for path, module in model.named_modules():
        for name, held in vars(module).items():
            if isinstance(held, torch.Tensor):
                yield f"{path}.{name}".lstrip("."), held


def _fake(tensor: torch.Tensor) -> torch.Tensor:
    with FakeTensorMode() as mode:
        return mode.from_tensor(tensor)
