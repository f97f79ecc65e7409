"""Original and cut network side by side on the same batches, operator by operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from penjing import processes
from penjing.network import Call, Network
from penjing.network.replay import Called, Replay, Shaped, half_of, tensor_of
from penjing.network.solve import tensor_named
from penjing.plan import Plan
from penjing.surgery.selection import Selection, take

Column = list[tuple["Lockstep", fx.Node]]
"""The same operator in the networks of every shape of input."""


class Lockstep:
    """All batches of one shape, in both networks.

    The cut network runs on the tensors that its module has at that moment, so that what is changed in one
    operator is what the next ones see.

    Several processes hold some of the batches each. Who has none of this shape holds one that counts for
    nothing, so that all come by the same operators.

    Attributes:
        net: the original, traced on this shape.
        pairs: the original's run and the cut network's, one pair for each batch that is held here.
        numbers: of these batches among all; None for one that does not count.
        batches: how many there are of this shape, wherever they are held.
        shared: whether other processes hold some.
    """

    def __init__(
        self,
        shaped: Shaped,
        plan: Plan,
        model: nn.Module,
        *,
        gradients: bool = False,
        first: int = 0,
        shared: bool = False,
    ) -> None:
        """Nothing is run yet.

        Args:
            shaped: the batches.
            plan: what the cut kept.
            model: cut by it, of the user's own class or the rewritten graph.
            gradients: whether they flow to the cut model's parameters.
            first: number of the first batch among those of all shapes.
            shared: whether all processes do this together, with the same batches; else this one alone.
        """
        self.net = shaped.net
        self._selection = Selection(shaped.net, plan.kept, plan.dropped)
        self._plan, self._model, self._gradients = plan, model, gradients
        self.batches, self.shared = len(shaped.calls), shared and processes.world() > 1
        self._first = first
        every = list(enumerate(shaped.calls, first))
        mine = [one for place, one in enumerate(every) if place % processes.world() == processes.rank()]
        held = mine if self.shared else every
        self.numbers: list[int | None] = [number for number, _ in held] or [None] * bool(every)
        self.pairs = [self.pair(call) for _, call in held or every[:1]]

    def half(self, number: int | None, samples: Tensor, size: int) -> Tensor:
        """Which half of the batches, or of a single one, samples of a batch are in: `half_of`."""
        return half_of(0 if number is None else number - self._first, self.batches, samples, size)

    def pair(self, call: Call) -> tuple[Replay, Replay]:
        """Runs of the original and of the cut network on inputs of this shape."""
        return Replay(self.net, call), Replay(self.net, call, held=self._held, called=self._called)

    def tensor(self, node: fx.Node) -> Tensor | None:
        """What the cut network has for a parameter or buffer of the graph; None for anything else."""
        name = self._name(node)
        return None if name is None else tensor_named(self._model, name).detach()

    def kept_indices(self, name: str) -> dict[int, list[int]]:
        """Dimension -> indices that stay of a parameter or buffer, for the dimensions that lose some."""
        return self._selection.kept_of(self.net.tensors[name])

    def keeps(self, axis: str) -> int:
        """How many units of an axis stay."""
        return len(self._plan.kept.get(axis, range(self.net.axis(axis).size)))

    def kept(self, value: Tensor, node: fx.Node) -> Tensor:
        """A value of the original, shaped as `node` gives it, at the indices that the cut keeps."""
        dims = self.net.solution.values[node]
        return take(value, self._selection.kept_of(dims)) if isinstance(dims, tuple) else value

    def _name(self, node: fx.Node) -> str | None:
        """Of a parameter or buffer that the cut network has; it lacks what only dropped branches read."""
        name = self.net.trace.state.get(node.name)
        if name is None or name in self._selection.unread or (self._plan.dropped and not self._has(name)):
            return None
        return name

    def _has(self, name: str) -> bool:
        """Whether the cut module still holds it; what nobody read went with the module around it."""
        try:
            tensor_named(self._model, name)
        except AttributeError:
            return False
        return True

    def _held(self, node: fx.Node) -> Any:
        name = self._name(node)
        if self._gradients and name is not None:
            return tensor_named(self._model, name)
        found = self.tensor(node)
        if found is not None:
            return found
        return self.kept(tensor_of(self.net, node), node)

    def _called(self, node: fx.Node) -> Called | None:
        if node.name in self._selection.left_out:
            return None
        if node.name in self._selection.passed:
            skip = next(s for s in node.all_input_nodes if s.name == self._selection.passed[node.name])
            return torch.clone, (skip,), {}
        op = self.net.solution.ops.get(node)
        return self._selection.arguments(op) if op else (node.target, node.args, node.kwargs)


def columns(steps: Sequence[Lockstep]) -> Iterator[Column]:
    """Every operator in order of execution, run in both networks on all batches when it is given out.

    Whoever is given an operator may change weights of the cut network and call `again`.
    """
    for nodes in zip(*(step.net.trace.graph.nodes for step in steps), strict=True):
        column = list(zip(steps, nodes, strict=True))
        for step, node in column:
            for whole, cut in step.pairs:
                whole.run(node)
                cut.run(node)
        yield column
        for step, node in column:
            for whole, cut in step.pairs:
                whole.done(node)
                cut.done(node)


def again(column: Column) -> None:
    """Runs an operator of the cut network once more."""
    for step, node in column:
        for _, cut in step.pairs:
            cut.run(node)


def alike(first: Network, other: Network) -> bool:
    """Whether both graphs are made of the same operators on the same tensors, whatever their sizes."""
    return _described(first) == _described(other)


def _described(net: Network) -> list[tuple[str, str]]:
    return [
        (node.op, net.trace.state.get(node.name, "") if node.op == "placeholder" else str(node.target))
        for node in net.trace.graph.nodes
    ]
