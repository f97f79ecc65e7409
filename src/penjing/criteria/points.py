"""Where the activations of an axis are looked at: at what the operators read that sum over its units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from penjing.axes import Dim, units
from penjing.criteria.seen import Samples
from penjing.network import Axis, Network
from penjing.network.projection import Projection, projections


@dataclass(frozen=True)
class Point:
    """A value in which an axis lies.

    Attributes:
        node: the operator that gives it.
        dim: the dimension.
        units: the unit of every index along it; -1 for none.
        samples: where the samples of a batch lie in it; None where no dimension is known to be theirs.
    """

    node: fx.Node
    dim: int
    units: tuple[int, ...]
    samples: Samples | None


def points(net: Network) -> Mapping[str, Sequence[Point]]:
    """Of every axis that may be cut, the values in which its units have done their work: activations.

    A layer that sums over the units reads them behind activation functions, normalisations and pooling. An
    axis that several layers read (a residual stream) has several points. One that nobody is seen to sum over
    is looked at in the last value that has it; one that is in no value at all has none.
    """
    free = {axis.name: axis for axis in net.prunable}
    found: dict[str, list[Point]] = defaultdict(list)
    last: dict[str, Point] = {}
    readers, batch = projections(net.trace), _batch(net)
    for node in net.trace.graph.nodes:
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        for name, dim, labels in net.along(node):
            if name in free:
                point = last[name] = Point(node, dim, labels, _samples(net, node, dim, batch))
                if any(_sums(net, reader, node, free[name], readers) for reader in node.users):
                    found[name].append(point)
    return {name: found.get(name) or [last[name]] if name in last else [] for name in free}


def _batch(net: Network) -> Dim | None:
    """The samples of a batch: what the first dimension of the first output has in common with an input."""
    given = {
        atom
        for node in net.trace.graph.nodes
        if node.op == "placeholder" and node.name in net.trace.inputs
        for dim in _dims(net, node)
        for atom in net.solution.atoms(dim)
    }
    (end,) = (node for node in net.trace.graph.nodes if node.op == "output")
    for leaf in end.all_input_nodes:
        for dim in _dims(net, leaf)[:1]:
            for atom in net.solution.atoms(dim):
                if atom in given:
                    return atom
    return None


def _samples(net: Network, node: fx.Node, axis: int, batch: Dim | None) -> Samples | None:
    """Where `batch` lies in the value of an operator, in another dimension than the axis."""
    if batch is None:
        return None
    space = net.solution.space
    for place, dim in enumerate(_dims(net, node)):
        if place != axis and batch in net.solution.atoms(dim):
            for labels in units(space, dim, batch):
                if min(labels, default=-1) >= 0:
                    return Samples(place, tuple(labels), space.size(batch))
    return None


def _dims(net: Network, node: fx.Node) -> tuple[Dim, ...]:
    dims = net.solution.values.get(node)
    return dims if isinstance(dims, tuple) else ()


def _sums(
    net: Network, reader: fx.Node, node: fx.Node, axis: Axis, readers: Mapping[fx.Node, Projection]
) -> bool:
    """Whether `reader` sums over the axis, which is in what it reads of `node`."""
    own = readers.get(reader)
    if own is not None and own.input is node:
        return any(member.tensor == own.weight and member.dim == own.into for member in axis.members)
    if reader.op != "call_function":
        return False
    given = list(_along(net, reader))
    return bool(given) and axis.name not in given


def _along(net: Network, reader: fx.Node) -> Iterator[str]:
    """Names of the axes in what an operator gives; one empty name beside them where it gives a tensor."""
    every = net.solution.values.get(reader)
    several = not isinstance(every, tuple)
    if every is None:
        return
    yield ""
    if not several:
        yield from (name for name, _, _ in net.along(reader))
        return
    for user in reader.users:  # the parts of an operator that gives several tensors
        yield from (name for name, _, _ in net.along(user))
