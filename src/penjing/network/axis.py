"""Axes as the user meets them: a name, a size, the tensors that carry it, and why it may not be cut."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from penjing.axes import Dim, Space, units
from penjing.axes.read import Shared, ways
from penjing.network.freeze import frozen_atoms
from penjing.network.op import Dims
from penjing.network.solve import Solution, tensor_named, tensors_of
from penjing.network.trace import Trace

_COMPUTED = "parametrizations.weight"
"""Where torch keeps what a parametrised weight is computed from."""


@dataclass(frozen=True, eq=False, repr=False)
class Member:
    """One dimension of one tensor that carries an axis.

    Attributes:
        tensor: the tensor's dotted name in the module.
        dim: which dimension of it.
        units: for every index along `dim`, the unit that it belongs to, or -1; read off the algebra when it
            is first asked for, since a network has many more members than anybody looks at.
    """

    tensor: str
    dim: int
    _read: Callable[[], tuple[int, ...]]

    @cached_property
    def units(self) -> tuple[int, ...]:  # noqa: D102 - said above
        return self._read()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Member) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash((self.tensor, self.dim))

    def __repr__(self) -> str:
        return f"Member(tensor={self.tensor!r}, dim={self.dim}, units={self.units})"

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process needs no algebra."""
        return {"tensor": self.tensor, "dim": self.dim, "units": self.units}

    def _all(self) -> tuple[str, int, tuple[int, ...]]:
        return self.tensor, self.dim, self.units


@dataclass(frozen=True)
class Axis:
    """One independent index set of a network.

    Attributes:
        name: from the module path of the first tensor that makes it.
        size: how many units it has.
        members: every dimension of a parameter or buffer that carries it.
        frozen: None, or why no unit of it may be removed.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    frozen: str | None


def find_axes(solution: Solution, trace: Trace, module: nn.Module) -> tuple[dict[Dim, Axis], dict[str, Dims]]:
    """Every axis that a parameter carries, by atom; and the dimensions of every named tensor.

    Those that may be cut come first, each kind in the order of the graph.
    """
    held = tensors_of(module)
    tensors = named_dims(solution, trace, module, held)
    trained = {name for name in tensors if isinstance(held.get(name), nn.Parameter)}
    carried: dict[Dim, list[tuple[str, int]]] = defaultdict(list)
    memo: dict[Dim, dict[Dim, int]] = {}
    for name in _in_order_of_use(trace, tensors):
        for place, dim in enumerate(tensors[name]):
            for atom, count in ways(solution.space, dim, memo).items():
                carried[atom] += [(name, place)] * count
    carried = {atom: places for atom, places in carried.items() if any(name in trained for name, _ in places)}
    reasons = frozen_atoms(solution, trace, module, carried)
    names = _names(solution, carried, tensors, trained)
    found: dict[Dim, Axis] = {}
    shared: Shared = {}
    for atom, places in sorted(carried.items(), key=lambda item: item[0] in reasons):
        members = tuple(
            Member(name, place, partial(_labels, solution.space, tensors[name][place], atom, way, shared))
            for (name, place), times in Counter(places).items()
            for way in range(times)
        )
        found[atom] = Axis(names[atom], solution.space.size(atom), members, reasons.get(atom))
    return found, tensors


def _labels(space: Space, dim: Dim, atom: Dim, way: int, shared: Shared) -> tuple[int, ...]:
    return units(space, dim, atom, shared)[way]


def named_dims(
    solution: Solution, trace: Trace, module: nn.Module, held: Mapping[str, torch.Tensor]
) -> dict[str, Dims]:
    """Dimensions of every parameter, buffer and plain tensor that the module holds, by dotted name."""
    found: dict[str, Dims] = {}
    for node in trace.graph.nodes:
        name = name_of(trace, node.name) if node.op == "placeholder" else None
        dims = solution.values.get(node)
        if name is not None and isinstance(dims, tuple) and (name in held or holds(module, name)):
            found[name] = dims
    return found


def name_of(trace: Trace, holder: str) -> str | None:
    """The dotted name of what a placeholder brings in, or None for a user's input."""
    return trace.state.get(holder) or trace.constants.get(holder, (None,))[0]


def holds(module: nn.Module, name: str) -> bool:
    """Whether the module has a tensor at the dotted `name`; a constant made on the way has none."""
    try:
        return isinstance(tensor_named(module, name), torch.Tensor)
    except AttributeError:
        return False


def _in_order_of_use(trace: Trace, tensors: dict[str, Dims]) -> Iterable[str]:
    """Names of tensors in the order in which the graph first reads them."""
    order: dict[str, None] = {}
    for node in trace.graph.nodes:
        for source in node.all_input_nodes if node.op == "call_function" else ():
            name = name_of(trace, source.name) if source.op == "placeholder" else None
            if name in tensors:
                order.setdefault(name)
    return [*order, *(name for name in tensors if name not in order)]


def _names(
    solution: Solution, carried: dict[Dim, list[tuple[str, int]]], tensors: dict[str, Dims], trained: set[str]
) -> dict[Dim, str]:
    """A readable, unique name for each axis: the module that makes it, and which part of its width.

    The maker is the first tensor that carries the axis along its first dimension (what a layer puts out);
    otherwise the first that carries it at all. Single units, which nobody cuts, get what names are left.
    """
    space = solution.space
    roles: dict[Dim, str] = {}
    for op in solution.ops.values():
        for dim, word in op.roles:
            parts = solution.atoms(dim)
            if len(parts) == 1:
                roles.setdefault(parts[0], word)
    proposed: dict[Dim, str] = {}
    for atom, places in carried.items():
        own = [place for place in places if place[0] in trained]
        tensor, dim = min(own, key=lambda place: place[1] != 0)
        base = _maker(tensor, {name for name, _ in own})
        parts = tuple(p for p in solution.atoms(tensors[tensor][dim]) if space.size(p) > 1) or (atom,)
        suffix = ""
        if dim and len(tensors[tensor]) > 1:
            suffix = f":in{dim if dim > 1 else ''}"
        if len(parts) > 1:
            suffix += f":{roles.get(atom) or parts.index(atom) if atom in parts else roles.get(atom, 'one')}"
        proposed[atom] = (base + suffix).replace(" ", "-")
    taken: Counter[str] = Counter()
    names: dict[Dim, str] = {}
    for atom, name in sorted(proposed.items(), key=lambda one: space.size(one[0]) == 1):
        taken[name] += 1
        names[atom] = name if taken[name] == 1 else f"{name}~{taken[name]}"
    return names


def _maker(tensor: str, beside: set[str]) -> str:
    """The layer whose weight `tensor` is, or whose bias beside a weight of `beside`; else `tensor` itself.

    A weight that is computed, by weight norm or a parametrisation, counts as what it is computed from.
    """
    path, _, leaf = tensor.rpartition(".")
    owner = path.removesuffix(f".{_COMPUTED}")
    if owner != path and leaf.startswith("original"):
        return owner
    weights = (f"{path}.weight", f"{path}.{_COMPUTED}.")
    is_weight = leaf == "weight" or leaf.startswith("weight_")
    if path and (is_weight or (leaf == "bias" and any(name.startswith(weights) for name in beside))):
        return path
    return tensor


def covered(axes: Iterable[Axis], module: nn.Module) -> float:
    """The share of parameters (elements) that some axis which may be cut goes through."""
    tensors = {m.tensor for axis in axes if axis.frozen is None for m in axis.members}
    seen: dict[int, tuple[int, bool]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = seen.get(id(parameter), (0, False))[1]
        seen[id(parameter)] = (parameter.numel(), known or name in tensors)
    total = sum(count for count, _ in seen.values())
    return sum(count for count, hit in seen.values() if hit) / total if total else 0.0


def count_parameters(module: nn.Module) -> int:
    """Elements of all parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def finite(tensor: torch.Tensor) -> bool:
    """Whether no element is NaN or infinite."""
    return tensor.is_meta or bool(tensor.isfinite().all())
