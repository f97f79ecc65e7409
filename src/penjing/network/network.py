"""A traced network: operators, tensors, axes, and their sizes at any choice of kept units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from torch import fx, nn
from torch.nn.parameter import is_lazy

from penjing.axes import Dim, leaves, size_at, units
from penjing.errors import PenjingError
from penjing.network.arguments import bind, operator_name
from penjing.network.axis import Axis, count_parameters, covered, find_axes, finite
from penjing.network.branches import Branch, find_branches
from penjing.network.call import Call
from penjing.network.describe import describe
from penjing.network.op import Dims, Op, Rule
from penjing.network.operator import Operator, Shape, module_of, plain_arguments, tensor_arguments
from penjing.network.refused import refused_source
from penjing.network.rules import RULES
from penjing.network.solve import Solution, solve, tensor_named
from penjing.network.switches import Switch, find_switches
from penjing.network.trace import Trace, capture, capture_training


class Network:
    """What `trace` returns. The user's module is referred to, never changed.

    Attributes:
        model: the user's module.
        call: the example inputs, as the model is called.
        trace: its operator graph.
        solution: the dimensions of every tensor.
        axes: every axis that a parameter carries; those that may be cut come first.
        tensors: dimensions of every parameter and buffer by dotted name.
    """

    def __init__(self, model: nn.Module, call: Call, trace: Trace, solution: Solution) -> None:
        """Reads the axes off a solved graph; use `trace` instead."""
        self.model, self.call, self.trace, self.solution = model, call, trace, solution
        by_atom, self.tensors = find_axes(solution, trace, model)
        self.axes: tuple[Axis, ...] = tuple(by_atom.values())
        self._atoms: dict[str, Dim] = {axis.name: atom for atom, axis in by_atom.items()}
        self._names: dict[Dim, str] = {atom: axis.name for atom, axis in by_atom.items()}
        self._by_name: dict[str, Axis] = {axis.name: axis for axis in self.axes}
        self._leaves: dict[Dim, tuple[Dim, ...]] = {}

    def axis(self, name: str) -> Axis:
        """The axis called `name`.

        Raises:
            PenjingError: PJ201, there is none; the three nearest names are given.
        """
        if name not in self._by_name:
            near = get_close_matches(name, self._by_name, n=3, cutoff=0)
            raise PenjingError("PJ201", f"there is no axis `{name}`", tries=[f"`{other}`" for other in near])
        return self._by_name[name]

    @property
    def prunable(self) -> tuple[Axis, ...]:
        """The axes that may be cut."""
        return tuple(axis for axis in self.axes if axis.frozen is None)

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """Every operator that computes on tensors, in order of execution."""
        found = []
        switch = {name: axis for axis, one in self.switches.items() for name in one.branch.operators}
        for node in self.trace.graph.nodes:
            value = self.solution.values.get(node)
            if node.op != "call_function" or value is None or operator_name(node.target) == "getitem":
                continue
            op = self.solution.ops.get(node) or self._silent(node)
            inputs = tensor_arguments(op)
            outputs = tuple(dims for dims in op.outputs if dims is not None)
            touched = {
                self._names[atom]
                for dims in [*inputs.values(), *outputs]
                for dim in dims
                for atom in self.solution.atoms(dim)
                if atom in self._names
            }
            free = frozenset(name for name in touched if self._by_name[name].frozen is None)
            found.append(
                Operator(
                    node.name, str(node.target), module_of(node), plain_arguments(op, self.trace.state), free,
                    switch.get(node.name), op.name, inputs, outputs, self.shape_at,
                )
            )  # fmt: skip
        return tuple(found)

    def along(self, node: fx.Node) -> Iterator[tuple[str, int, tuple[int, ...]]]:
        """Axes along the dimensions of what an operator gives: name, dimension, unit of every index."""
        dims = self.solution.values.get(node)
        for place, dim in enumerate(dims if isinstance(dims, tuple) else ()):
            for atom in self.solution.atoms(dim):
                if atom in self._names:
                    for labels in units(self.solution.space, dim, atom):
                        yield self._names[atom], place, labels

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """Residual branches that can be left out whole."""
        return find_branches(self.trace, self.solution)

    @cached_property
    def switches(self) -> Mapping[str, Switch]:
        """Axes whose last unit takes a whole branch with it, by name."""
        return find_switches(self.trace, self.axes, self.branches)

    def branch(self, name: str) -> Branch:
        """The residual branch called `name`.

        Raises:
            PenjingError: PJ208, there is none; the three nearest names are given.
        """
        by_name = {branch.name: branch for branch in self.branches}
        if name not in by_name:
            near = get_close_matches(name, by_name, n=3, cutoff=0)
            raise PenjingError(
                "PJ208", f"there is no branch `{name}`", tries=[f"`{other}`" for other in near]
            )
        return by_name[name]

    @property
    def opaque(self) -> tuple[str, ...]:
        """Operators that no rule vouches for; what touches them is frozen."""
        return tuple(f"{node.name} ({operator_name(node.target)})" for node in self.solution.opaque)

    @cached_property
    def balanced(self) -> tuple[tuple[str, ...], ...]:
        """Groups of axes that the user's own code makes equally long (it halves their sum)."""
        found: dict[tuple[str, ...], None] = {}
        for op in self.solution.ops.values():
            for group in op.balanced:
                parts = [self.solution.atoms(dim) for dim in group]
                if len({len(part) for part in parts}) > 1:
                    continue
                for column in zip(*parts, strict=True):
                    names = [self._names.get(atom) for atom in dict.fromkeys(column)]
                    if len(names) > 1 and all(names):
                        found[tuple(name for name in names if name)] = None
        return tuple(found)

    # -- sizes -----------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> int:
        """Elements of all parameters, shared ones once."""
        return count_parameters(self.model)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one call on the example inputs."""
        return self.macs_at({})

    @property
    def coverage(self) -> float:
        """The share of parameter elements that lie on an axis which may be cut."""
        return covered(self.axes, self.model)

    def macs_at(self, counts: Mapping[str, int]) -> int:
        """Multiply-accumulate operations when each axis in `counts` keeps that many units."""
        return sum(operator.macs_at(counts) for operator in self.operators)

    def parameters_at(self, counts: Mapping[str, int]) -> int:
        """Elements of all parameters when each axis in `counts` keeps that many units.

        Of a switch that keeps none, those that only its branch reads are gone.
        """
        gone = {
            name
            for axis, switch in self.switches.items()
            if counts.get(axis) == 0
            for name in switch.branch.parameters
        }
        return (
            sum(
                math.prod(self.shape_at(self.tensors[name], counts))
                for name in self._own_parameters
                if name not in gone
            )
            + self._untraced
        )

    def shape_at(self, dims: Dims, counts: Mapping[str, int]) -> Shape:
        """Sizes of `dims` when each axis in `counts` keeps that many units."""
        by_atom = {self._atoms[name]: count for name, count in counts.items()}
        return tuple(self._size_at(dim, by_atom) for dim in dims)

    def atoms_kept(self, kept: Mapping[str, Any]) -> dict[Dim, Any]:
        """The same mapping keyed by the atoms of the algebra instead of axis names."""
        return {
            self.solution.space.root(self._atoms[self.axis(name).name]): value for name, value in kept.items()
        }

    # -- inside ----------------------------------------------------------------------------------------------

    def _size_at(self, dim: Dim, by_atom: Mapping[Dim, int]) -> int:
        """Most dimensions are an atom, or have none that is cut: only the others have to be folded."""
        space = self.solution.space
        atoms = leaves(space, dim, self._leaves)
        if by_atom.keys().isdisjoint(atoms):
            return space.size(dim)
        if atoms == (space.root(dim),):
            return by_atom[atoms[0]]
        return size_at(space, dim, by_atom)

    @cached_property
    def _own_parameters(self) -> tuple[str, ...]:
        """One name for each distinct parameter of the graph."""
        seen: dict[int, str] = {}
        for name in self.tensors:
            tensor = tensor_named(self.model, name)
            if isinstance(tensor, nn.Parameter):
                seen.setdefault(id(tensor), name)
        return tuple(seen.values())

    @cached_property
    def _untraced(self) -> int:
        traced = {id(tensor_named(self.model, name)) for name in self._own_parameters}
        return sum(p.numel() for p in self.model.parameters() if id(p) not in traced)

    def _silent(self, node: fx.Node) -> Op:
        value = self.solution.values.get(node)
        outputs = value if isinstance(value, list) else [value]
        return Op(
            operator_name(node.target), node, bind(node), outputs, self.solution.values.get, lambda _: None
        )

    def __str__(self) -> str:
        """Operators, parameters, macs, axes, frozen ones and why."""
        return describe(self)


def trace(model: nn.Module, example_inputs: Any, *, rules: Mapping[str, Rule] = RULES) -> Network:
    """Traces a model and solves its axes.

    Args:
        model: any PyTorch module; it is traced in eval mode (where only training reads some parameters, in
            training mode too) and left as it was.
        example_inputs: a tensor, a tuple or a dict, as the model is called.
        rules: operator name -> rule; `{**penjing.network.RULES, ...}` adds your own.

    Raises:
        PenjingError: PJ101 or PJ102, the inputs do not fit; PJ103, the model cannot be traced; PJ104, weights
            that are NaN or infinite; PJ105, the model is no PyTorch module.
    """
    if not isinstance(model, nn.Module):
        raise refused_source(model)
    call = Call.of(model, example_inputs)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise PenjingError(
                "PJ102",
                f"`{name}` has no size yet",
                because="it belongs to a lazy layer, which takes its size from the first input",
                tries=["run the model once on the example inputs before tracing it"],
            )
        if isinstance(tensor, nn.Parameter) and not finite(tensor):
            raise PenjingError(
                "PJ104",
                f"`{name}` holds values that are not finite",
                because="no criterion can rank NaN or infinite weights, and no proof can compare them",
                tries=["load a checkpoint from before the training diverged"],
            )
    captured = capture(model, call)
    training = capture_training(model, call, captured)
    return Network(model, call, captured, solve(captured, rules, model, training=training))
