"""Operators as plans and devices see them: what they read, and their shapes at any choice of widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from penjing.network.macs import FORMULAS
from penjing.network.op import Dims, Op

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorRef:
    """Stands for a tensor among an operator's arguments.

    Attributes:
        name: the operator that makes it, or the parameter's dotted name.
        parameter: whether it is a parameter or buffer.
    """

    name: str
    parameter: bool


@dataclass(frozen=True)
class Operator:
    """One operator of a network.

    Attributes:
        name: unique, e.g. `conv2d_3`.
        target: e.g. `aten.conv2d.default`.
        module: path of the module that called it; "" is the root.
        arguments: by schema name; tensors are `TensorRef`.
        axes: names of the axes that may be cut and that change any of its shapes.
        switch: name of the axis without whose units it is not executed, as its whole branch; or None.
    """

    name: str
    target: str
    module: str
    arguments: dict[str, Any]
    axes: frozenset[str]
    switch: str | None
    _kind: str
    _inputs: dict[str, Dims]
    _outputs: tuple[Dims, ...]
    _shape: Callable[[Dims, Mapping[str, int]], Shape]

    @property
    def depends(self) -> frozenset[str]:
        """Names of all axes that change what it costs."""
        return self.axes if self.switch is None else self.axes | {self.switch}

    def runs_at(self, counts: Mapping[str, Any]) -> Any:
        """Whether it is executed when each axis in `counts` keeps that many units; widths may be arrays."""
        return self.switch is None or counts.get(self.switch, 1) != 0

    def inputs_at(self, counts: Mapping[str, int]) -> dict[str, Shape]:
        """Shape of every tensor argument when each axis in `counts` keeps that many units."""
        return {name: self._shape(dims, counts) for name, dims in self._inputs.items()}

    def outputs_at(self, counts: Mapping[str, int]) -> tuple[Shape, ...]:
        """Shape of every output, likewise."""
        return tuple(self._shape(dims, counts) for dims in self._outputs)

    def macs_at(self, counts: Mapping[str, int]) -> int:
        """Multiply-accumulate operations, likewise; 0 for operators that do not multiply matrices."""
        formula = FORMULAS.get(self._kind)
        runs = self.runs_at(counts)
        if formula is None or runs is False:
            return 0
        whole: int = formula(self.arguments, self.inputs_at(counts), self.outputs_at(counts))
        return whole if runs is True else runs * whole


def tensor_arguments(op: Op) -> dict[str, Dims]:
    """Dimensions of every tensor argument by name; entries of a list are `name[0]`, `name[1]` ..."""
    found: dict[str, Dims] = {}
    for name, argument in op.arguments.items():
        if isinstance(argument, list | tuple):
            for place, dims in enumerate(op.many(name)):
                if dims is not None:
                    found[f"{name}[{place}]"] = dims
        elif (dims := op.of(argument)) is not None:
            found[name] = dims
    return found


def plain_arguments(op: Op, state: Mapping[str, str]) -> dict[str, Any]:
    """The arguments with graph nodes replaced by references."""

    def plain(value: Any) -> Any:
        if isinstance(value, fx.Node):
            name = state.get(value.name)
            return TensorRef(name or value.name, name is not None)
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        return value

    return {name: plain(value) for name, value in op.arguments.items()}


def module_of(node: fx.Node) -> str:
    """Path of the module whose code called the operator."""
    stack = node.meta.get("nn_module_stack") or {}
    path = ""
    for key, entry in stack.items():
        found = entry[0] if isinstance(entry, tuple) else str(key)
        path = str(found)
    return path.removeprefix("L['self']").lstrip(".")
