"""The operator graph of a network run on real inputs, one operator at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network.batch import Batch
from penjing.network.call import Call
from penjing.network.network import Network, trace
from penjing.network.outputs import flatten
from penjing.network.solve import tensor_named
from penjing.network.untouched import untouched

Called = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""What is called for an operator: target, arguments, named arguments, tensors as graph nodes."""


class Replay:
    """One run of a graph on one batch; values are kept only as long as an operator still needs them.

    Attributes:
        values: what every operator gave that somebody still reads.
    """

    def __init__(
        self,
        net: Network,
        call: Call,
        *,
        held: Callable[[fx.Node], Any] | None = None,
        called: Callable[[fx.Node], Called | None] | None = None,
    ) -> None:
        """Takes the inputs; nothing is run yet.

        Args:
            net: traced on inputs of the shapes of `call`.
            call: the inputs; they are copied, for operators may write into them.
            held: placeholder of a parameter, buffer or constant -> its value; None for that of the model.
            called: operator -> what is called for it, None for nothing; None for the operator as it stands.
        """
        self._held = held or (lambda node: tensor_of(net, node))
        self._called = called or (lambda node: (node.target, node.args, node.kwargs))
        leaves = pytree.arg_tree_leaves(*call.args, **call.kwargs)
        given = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        by_name = dict(zip(net.trace.inputs, given, strict=True))
        self._given = frozenset(by_name)
        self._left = {node: len(node.users) for node in net.trace.graph.nodes}
        self.values: dict[fx.Node, Any] = {
            node: by_name[node.name] for node in net.trace.graph.nodes if node.name in by_name
        }

    def run(self, node: fx.Node) -> Any:
        """The value of `node`; all before it have been run. It replaces that of an earlier run of it."""
        if node.op == "placeholder":
            return self.read(node)
        if node.op == "output":
            self.values[node] = [self.read(leaf) for leaf in pytree.tree_leaves(node.args[0])]
        elif (what := self._called(node)) is not None:
            function: Any
            function, args, kwargs = what
            if not all(source in self.values or self._is_held(source) for source in _nodes((args, kwargs))):
                return None  # it reads what is left out
            args, kwargs = cast(tuple[Any, Any], fx.map_arg((args, kwargs), self.read))
            with _drawn_alike(function, node.name):
                self.values[node] = function(*args, **kwargs)
        return self.values.get(node)

    def whole(self) -> list[Any]:
        """Runs all operators; the outputs of the network."""
        for node in self._left:
            found = self.run(node)
            self.done(node)
        return cast(list[Any], found)

    def read(self, leaf: Any) -> Any:
        """The value of a graph node; anything else stands for itself. Parameters are read as they are now."""
        if not isinstance(leaf, fx.Node):
            return leaf
        return self._held(leaf) if self._is_held(leaf) else self.values[leaf]

    def _is_held(self, node: fx.Node) -> bool:
        return node.op == "placeholder" and node.name not in self._given

    def replace(self, node: fx.Node, value: Any) -> None:
        """Lets what follows read another value."""
        self.values[node] = value

    def hold(self, node: fx.Node) -> None:
        """Keeps the value of `node`, once it is there, until it is released."""
        self._left[node] += 1

    def release(self, node: fx.Node) -> None:
        """One reader of `node` less."""
        self._left[node] -= 1
        if not self._left[node]:
            self.values.pop(node, None)

    def done(self, node: fx.Node) -> None:
        """Forgets what nobody reads after `node`."""
        for source in node.all_input_nodes:
            self.release(source)
        if node.op == "call_function" and not node.users:
            self.values.pop(node, None)


@contextmanager
def _drawn_alike(function: Any, name: str) -> Iterator[None]:
    """Operators that draw random numbers draw the same in every run, and leave those of others alone."""
    if torch.Tag.nondeterministic_seeded not in getattr(function, "tags", ()):
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(zlib.crc32(name.encode()))
        yield


def _nodes(arguments: Any) -> Iterator[fx.Node]:
    return (leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, fx.Node))


def tensor_of(net: Network, node: fx.Node) -> Any:
    """The parameter, buffer or constant that a placeholder stands for, without its history."""
    name = net.trace.state.get(node.name)
    return (tensor_named(net.model, name) if name else net.trace.constants[node.name][1]).detach()


@dataclass(frozen=True)
class Shaped:
    """A network traced on a batch's own shapes, with the batches that have them.

    Attributes:
        net: of the same model and axes.
        calls: the batches.
        numbers: their places in the data.
    """

    net: Network
    calls: list[Call]
    numbers: Sequence[int] = ()


MOST_SHAPES = 8
"""Of batches of different shapes, each of which has to be traced for itself."""


def by_shape(net: Network, batches: Iterable[Any]) -> tuple[list[Shaped], list[str]]:
    """Batches sorted by their shapes, each kind with a network that was traced on it.

    A traced graph states the sizes that its example inputs had. Axes that can be cut are those of the model,
    whatever it is called with, and go by the same names. Others may differ: a token that is expanded to one
    sample has the samples' axis, to several it has one of its own. Where the model's code decides by values
    which way to go, batches that go another way than the example inputs are left out.

    Args:
        net: traced on any inputs.
        batches: `inputs` or `(inputs, targets)`.

    Returns:
        The kinds, that of most batches first (none where no batch can be used), and notes on batches that
        cannot be used.

    Raises:
        PenjingError: PJ310, a batch does not fit the model; PJ320, NaN in one; PJ311, no batch.
    """
    kinds: dict[Any, list[tuple[int, Call]]] = {}
    for number, given in enumerate(batches):
        call = Batch.read(net.model, given, number).call
        _check_numbers(call, number)
        kinds.setdefault(_shapes(call), []).append((number, call))
    if not kinds:
        raise PenjingError("PJ311", "the calibration data are empty", tries=["data=[batch, ...]"])
    ordered = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    notes = []
    if len(ordered) > MOST_SHAPES:
        lost = sum(len(calls) for _, calls in ordered[MOST_SHAPES:])
        notes.append(
            f"{lost} of the batches are not used: of {len(ordered)} shapes of input, the {MOST_SHAPES} most "
            "frequent are traced"
        )
    found = []
    for shapes, calls in ordered[:MOST_SHAPES]:
        own = net if shapes == _shapes(net.call) else trace(net.model, calls[0][1])
        if _cuttable(own) == _cuttable(net):
            alike = [one for one in calls if own.trace.specialised is None or _goes_as_traced(own, one[1])]
            if len(alike) < len(calls):
                notes.append(
                    f"{len(calls) - len(alike)} of the batches are not used: the model's code goes another "
                    f"way with their values than with the example inputs ({own.trace.specialised})"
                )
            if alike:
                numbers, used = zip(*alike, strict=True)
                found.append(Shaped(own, list(used), numbers))
        else:
            notes.append(
                f"{len(calls)} of the batches are not used: the model works otherwise on their shapes"
            )
    return found, notes


def _cuttable(net: Network) -> list[tuple[str, int]]:
    return [(axis.name, axis.size) for axis in net.prunable]


def _goes_as_traced(net: Network, call: Call) -> bool:
    """Whether the graph gives for a batch what the model gives."""
    with untouched(net.model), torch.no_grad():
        try:
            wanted, _ = flatten(call.copy().run(net.model))
            found = Replay(net, call).whole()
        except RuntimeError:  # the graph does not even fit the values
            return False
        return len(found) == len(wanted) and all(map(_same, found, wanted))


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return bool(one == other)
    if one.shape != other.shape:
        return False
    size = float(other.double().abs().max()) if other.numel() else 0.0
    return bool(torch.allclose(one.double(), other.double(), rtol=0, atol=1e-3 * size, equal_nan=True))


def _shapes(call: Call) -> Any:
    leaves, structure = pytree.tree_flatten((call.args, call.kwargs))
    return tuple(_shape(leaf) for leaf in leaves), structure


def _shape(leaf: Any) -> Any:
    return (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else leaf


def _check_numbers(call: Call, number: int) -> None:
    """Infinity is let through: masks of attention are made of it."""
    for leaf in pytree.tree_leaves((call.args, call.kwargs)):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and bool(leaf.isnan().any()):
            sample = int(leaf.isnan().nonzero()[0, 0]) if leaf.ndim else 0
            raise PenjingError(
                "PJ320",
                f"batch {number} of the calibration data holds NaN",
                because=f"the first is in sample {sample} of the batch",
                tries=["leave that sample out"],
            )


def half_of(place: int, batches: int, samples: Tensor, size: int) -> Tensor:
    """Which half of the data each sample is in: 0, the earlier, or 1, the later; neighbours stay together.

    Frames of one film, crops of one picture are no samples that were not seen.

    Args:
        place: of the batch, from 0.
        batches: how many there are; a single one is halved itself.
        samples: numbers of samples in the batch.
        size: how many samples it has.
    """
    if batches > 1:
        return torch.full_like(samples, int(2 * place >= batches))
    return (2 * samples >= size).to(samples.dtype)


def peak_bytes(net: Network) -> int:
    """The most that the values of one `Replay` take at once, parameters aside."""
    left = {node: len(node.users) for node in net.trace.graph.nodes}
    live = most = 0
    for node in net.trace.graph.nodes:
        if node.op == "placeholder" and node.name not in net.trace.inputs:
            continue
        live += _bytes(node)
        most = max(most, live)
        for source in node.all_input_nodes:
            left[source] -= 1
            own = source.op != "placeholder" or source.name in net.trace.inputs
            if not left[source] and own:
                live -= _bytes(source)
    return most


def _bytes(node: fx.Node) -> int:
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, Tensor))
