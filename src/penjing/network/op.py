"""What a rule sees of an operator: arguments by name, dimensions of its tensors, what it may declare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from penjing.axes import Dim, Space

Dims = tuple[Dim, ...]


@dataclass
class Op:
    """One operator of the graph, as its rule sees it.

    A rule reads arguments and dimensions, ties dimensions through the `Space` it is given, and declares what
    else follows from a cut. It never changes the graph.

    Attributes:
        name: operator without overload, e.g. `aten.linear`; in-place variants carry the name of the plain
            one.
        node: the graph node.
        arguments: every argument of the schema by name, defaults filled in; tensors are graph nodes.
        outputs: the dimensions of each output tensor (() for a scalar tensor, None where the output is no
            tensor).
        sizes: declared by `resize`: argument -> the dimension(s) whose size it states, None for entries left
            alone.
        contracts: declared: sums of products over dimensions that may be cut; where a unit is gone it must
            see zeros.
        normalises: declared: must be applied to what is left of its inputs (mean, softmax, layer norm).
        pinned: declared by `pin`: argument -> the value that its default had before the cut.
        restated: declared by `restate`: the operator to call instead where sizes change, and its arguments
            after the first.
        pieces: declared by `cuts_into`: the place of the dimension that is cut apart, and the pieces.
        resting: declared by `rest`: pieces that this operator leaves unread.
        following: declared by `follow`: (dimension, what it is to be frozen with).
        balanced: declared by `balance`: groups of pieces that the operator itself makes equally long.
        apart: declared by `differ`: pairs of dimensions that must not come to be of one size.
        roles: declared by `role`: words for dimensions that their tensors' names do not tell.
    """

    name: str
    node: fx.Node
    arguments: dict[str, Any]
    outputs: list[Dims | None]
    lookup: Callable[[fx.Node], Dims | list[Dims | None] | None]
    constant_of: Callable[[fx.Node], torch.Tensor | None]
    sizes: dict[str, Dim | list[Dim | None] | None] = field(default_factory=dict)
    contracts: bool = False
    normalises: bool = False
    pinned: dict[str, Any] = field(default_factory=dict)
    restated: tuple[Any, tuple[Any, ...]] | None = None
    pieces: tuple[int, tuple[Dim, ...]] | None = None
    resting: list[Dim] = field(default_factory=list)
    following: list[tuple[Dim, Dim]] = field(default_factory=list)
    balanced: list[tuple[Dim, ...]] = field(default_factory=list)
    apart: list[tuple[Dim, Dim]] = field(default_factory=list)
    roles: list[tuple[Dim, str]] = field(default_factory=list)

    @property
    def output(self) -> Dims:
        """Dimensions of the only (or first) output."""
        assert self.outputs[0] is not None
        return self.outputs[0]

    def value(self, name: str) -> Any:
        """An argument as it stands in the graph: number, list, string or None."""
        return self.arguments[name]

    def dims(self, name: str) -> Dims:
        """Dimensions of the tensor argument `name`."""
        found = self.maybe(name)
        assert found is not None, f"{self.name} has no tensor `{name}`"
        return found

    def maybe(self, name: str) -> Dims | None:
        """Dimensions of the tensor argument `name`, or None where it is absent or no tensor."""
        return self.of(self.arguments.get(name))

    def of(self, argument: Any) -> Dims | None:
        """Dimensions of any argument that is one tensor, else None."""
        if not isinstance(argument, fx.Node):
            return None
        found = self.lookup(argument)
        return found if isinstance(found, tuple) else None

    def many(self, name: str) -> list[Dims | None]:
        """Dimensions of each entry of the list argument `name`."""
        return [self.of(entry) for entry in self.arguments[name] or ()]

    def constant(self, argument: Any) -> torch.Tensor | None:
        """The value of a tensor argument that depends on neither inputs nor parameters, else None."""
        return self.constant_of(argument) if isinstance(argument, fx.Node) else None

    def inputs(self) -> list[Dims]:
        """Dimensions of every tensor argument, lists included."""
        found = [self.of(entry) for entry in _flatten(list(self.arguments.values()))]
        return [dims for dims in found if dims is not None]

    def resize(self, name: str, sizes: Dim | Sequence[Dim | None] | None) -> None:
        """Declares that argument `name` states the size of a dimension (or, a list, of several)."""
        self.sizes[name] = list(sizes) if isinstance(sizes, Sequence) else sizes

    def pin(self, name: str, value: Any) -> None:
        """Declares that argument `name`, left to its default, must keep this value when sizes change."""
        self.pinned[name] = value

    def restate(self, target: Any, *arguments: Any) -> None:
        """Declares that where sizes change, `target` is called on the first argument and `arguments`."""
        self.restated = target, arguments

    def cuts_into(self, place: int, pieces: Sequence[Dim]) -> None:
        """Declares that the input's dimension at `place` is cut into consecutive `pieces`, one an output."""
        self.pieces = (place, tuple(pieces))

    def follow(self, dim: Dim, other: Dim) -> None:
        """Declares that `dim` is worth cutting only where some of `other` can be cut (padding)."""
        self.following.append((dim, other))

    def rest(self, dim: Dim) -> None:
        """Declares that the operator leaves `dim`, a piece of its input, unread."""
        self.resting.append(dim)

    def balance(self, pieces: Sequence[Dim]) -> None:
        """Declares that the operator makes `pieces` equally long whatever the length of the whole."""
        self.balanced.append(tuple(pieces))

    def differ(self, dim: Dim, other: Dim) -> None:
        """Declares that the operator tells what to do by `dim` and `other` being of different sizes."""
        self.apart.append((dim, other))

    def role(self, dim: Dim, word: str) -> None:
        """Says what `dim` is, for its name: "heads", "groups"."""
        self.roles.append((dim, word))


Rule = Callable[[Op, Space], None]


def _flatten(values: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(_flatten(value) if isinstance(value, list | tuple) else [value])
    return flat
