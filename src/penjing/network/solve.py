"""Lets every operator speak once: dimensions for every tensor of a graph, tied by the rules."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from penjing.axes import Dim, Space, TieError, leaves
from penjing.network.arguments import bind, operator_name
from penjing.network.constants import Constants
from penjing.network.op import Dims, Op, Rule
from penjing.network.outputs import boxed
from penjing.network.symbolic import MARK, REASON
from penjing.network.trace import Trace

Value = Dims | list[Dims | None] | None


@dataclass
class Solution:
    """Dimensions of every tensor, and what the rules declared.

    Attributes:
        space: where the dimensions live.
        values: graph node -> dimensions of its tensor (a list of them for several outputs).
        ops: graph node -> the operator as its rule left it; without those that are opaque or have nothing to
            say.
        opaque: graph node -> why its axes are frozen.
        dependent: graph nodes that depend on the user's inputs.
    """

    space: Space
    values: dict[fx.Node, Value] = field(default_factory=dict)
    ops: dict[fx.Node, Op] = field(default_factory=dict)
    opaque: dict[fx.Node, str] = field(default_factory=dict)
    dependent: set[fx.Node] = field(default_factory=set)
    _atoms: dict[Dim, tuple[Dim, ...]] = field(default_factory=dict)

    def atoms(self, dim: Dim) -> tuple[Dim, ...]:
        """The distinct atoms of `dim`, now that nothing will be tied any more."""
        return leaves(self.space, dim, self._atoms)


def solve(
    trace: Trace,
    rules: Mapping[str, Rule],
    module: torch.nn.Module,
    *,
    ends: bool = True,
    training: Trace | None = None,
) -> Solution:
    """Walks the graph once and applies the rule of every operator.

    Args:
        trace: the graph.
        rules: operator name without overload -> rule.
        module: the traced module, for the values of its buffers.
        ends: whether the shapes of inputs and outputs must stay; a single operator is checked without.
        training: the graph of the model in training mode, where its parameters are tied by more.
    """
    solution = Solution(Space())
    _walk(solution, trace, rules, module, ends=ends)
    if training is not None:
        _tie_training(solution, trace, training, rules, module)
    _tie_shared(solution, trace, module)
    if ends:
        _freeze_ends(solution, trace)
    return solution


def _walk(
    solution: Solution, trace: Trace, rules: Mapping[str, Rule], module: torch.nn.Module, *, ends: bool
) -> None:
    constants = Constants(trace, module)
    inputs = set(trace.inputs)
    for node in trace.graph.nodes:
        if node.op == "placeholder":
            solution.values[node] = _fresh(solution.space, node.meta.get("val"))
            if node.name in inputs or not ends:
                solution.dependent.add(node)
        elif node.op == "call_function":
            if not solution.dependent.isdisjoint(node.all_input_nodes):
                solution.dependent.add(node)
            _speak(solution, node, rules, constants)


def _tie_training(
    solution: Solution, trace: Trace, training: Trace, rules: Mapping[str, Rule], module: torch.nn.Module
) -> None:
    """What training ties is tied: a head that only training reads has the width of the features it reads."""
    other = Solution(solution.space)
    _walk(other, training, rules, module, ends=True)
    dims = {name: solution.values[node] for name, node in _holders(trace).items()}
    for name, node in _holders(training).items():
        for one, same in zip(other.values[node] or (), dims.get(name) or (), strict=False):
            assert isinstance(one, int)
            assert isinstance(same, int)
            solution.space.tie(one, same)
    by_name = {node.name: node for node in training.graph.nodes if node.op == "placeholder"}
    for name in training.inputs:
        _freeze_value(other, by_name[name], f"input `{name}`")


def _holders(trace: Trace) -> dict[str, fx.Node]:
    """The placeholder of every parameter and buffer, by its dotted name."""
    return {trace.state[node.name]: node for node in trace.graph.nodes if node.name in trace.state}


def _speak(solution: Solution, node: fx.Node, rules: Mapping[str, Rule], constants: Constants) -> None:
    if node.target is operator.getitem:
        whole = solution.values[node.args[0]]  # type: ignore[index]
        solution.values[node] = whole[node.args[1]] if isinstance(whole, list) else None  # type: ignore[index]
        return
    space = solution.space
    value = _fresh(space, node.meta.get("val"))
    solution.values[node] = value
    outputs = value if isinstance(value, list) else [value]
    for output, place in node.meta.get(MARK, ()):
        space.freeze(outputs[output][place], REASON)
    name = operator_name(node.target)
    op = Op(name, node, bind(node), outputs, solution.values.get, constants.value)
    rule = rules.get(name)
    if rule is None:
        _close(solution, op, f"operator {name} has no rule")
        return
    try:
        rule(op, space)
    except (TieError, AssertionError, LookupError, TypeError, ValueError) as error:
        _close(solution, op, f"the rule of {name} does not fit this call ({type(error).__name__}: {error})")
        return
    solution.ops[node] = op


def _close(solution: Solution, op: Op, reason: str) -> None:
    """Freezes all that touches an operator nobody can vouch for."""
    touched = [dims for dims in [*op.inputs(), *op.outputs] if dims]
    if not touched:
        return
    solution.opaque[op.node] = reason
    for dims in touched:
        for dim in dims:
            solution.space.freeze(dim, reason)


def _fresh(space: Space, value: Any) -> Value:
    if isinstance(value, torch.Tensor):
        return space.atoms(value.shape)
    if isinstance(value, list | tuple):
        return [space.atoms(v.shape) if isinstance(v, torch.Tensor) else None for v in value]
    return None


def _tie_shared(solution: Solution, trace: Trace, module: torch.nn.Module) -> None:
    """One tensor under several names has one set of dimensions."""
    first: dict[int, Dims] = {}
    by_name = {node.name: node for node in trace.graph.nodes if node.op == "placeholder"}
    tensors = tensors_of(module)
    for holder, name in trace.state.items():
        dims = solution.values[by_name[holder]]
        assert isinstance(dims, tuple)
        tensor = tensors[name]
        for one, other in zip(dims, first.setdefault(id(tensor), dims), strict=True):
            solution.space.tie(one, other)


def _freeze_ends(solution: Solution, trace: Trace) -> None:
    """Nobody may change the shapes of what the user puts in and gets out."""
    by_name = {node.name: node for node in trace.graph.nodes if node.op == "placeholder"}
    for name in trace.inputs:
        _freeze_value(solution, by_name[name], f"input `{name}`")
    output = next(node for node in reversed(trace.graph.nodes) if node.op == "output")
    paths = _leaf_names(trace)
    for path, leaf in zip(paths, pytree.tree_leaves(output.args[0]), strict=False):
        if isinstance(leaf, fx.Node):
            _freeze_value(solution, leaf, f"output {path}")


def _freeze_value(solution: Solution, node: fx.Node, what: str) -> None:
    value = solution.values.get(node)
    for dims in value if isinstance(value, list) else [value]:
        for place, dim in enumerate(dims or ()):
            solution.space.freeze(dim, f"dimension {place} of {what}")


def _leaf_names(trace: Trace) -> list[str]:
    spec = trace.out_spec
    numbered = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    return [
        f"`{'.'.join(str(_step(key)) for key in path)}`" if path else "of the model"
        for path, _ in pytree.tree_leaves_with_path(boxed(numbered))
    ]


def _step(key: pytree.KeyEntry) -> Any:
    """The key, position or field name that one step into a structure goes by."""
    match key:
        case pytree.MappingKey(key=step) | pytree.SequenceKey(idx=step) | pytree.GetAttrKey(name=step):
            return step
    return key


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by each of its dotted names."""
    found: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    found.update(module.named_buffers(remove_duplicate=False))
    return found


def tensor_named(module: torch.nn.Module, name: str) -> torch.Tensor:
    """The parameter, buffer or plain tensor attribute at the dotted `name`."""
    path, _, attribute = name.rpartition(".")
    found: torch.Tensor = getattr(module.get_submodule(path), attribute)
    return found
