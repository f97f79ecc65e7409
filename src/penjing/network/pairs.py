"""Query and key projections of which nothing but the products of queries with keys is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from penjing.network.arguments import bind, operator_name
from penjing.network.axis import Axis
from penjing.network.network import Network
from penjing.network.projection import Projection

_VIEWS = ("view", "reshape", "_unsafe_view", "unflatten", "transpose", "permute", "contiguous", "clone", "t")
_PASSES = frozenset(f"aten.{name}" for name in _VIEWS)
_SCALES = frozenset({"aten.mul", "aten.div"})
_ON_THE_WAY = frozenset(
    {"aten.add", "aten.masked_fill", "aten.where", "aten.to", "aten.dropout", "aten.float"}
)


@dataclass(frozen=True)
class Pair:
    """A query and a key projection.

    Attributes:
        query: the projection of queries.
        key: that of keys.
        axis: name of the axis that the products sum over.
        centred: whether a softmax over keys comes next, to which a constant of each query's means nothing.
        way: from both projections to the product, in order.
    """

    query: Projection
    key: Projection
    axis: str
    centred: bool
    way: tuple[fx.Node, ...]

    @property
    def later(self) -> fx.Node:
        """The projection that is executed last."""
        return next(node for node in reversed(self.way) if node in (self.query.node, self.key.node))

    @property
    def earlier(self) -> Projection:
        """The other one."""
        return self.key if self.later is self.query.node else self.query


def pairs(net: Network, layers: Mapping[fx.Node, Projection]) -> dict[fx.Node, Pair]:
    """Every such pair of a network, by the later projection.

    Between projection and product there are views and constant factors only; rotary embeddings and
    normalisations of queries and keys tie or freeze their width, and are none.
    """
    position = {node: place for place, node in enumerate(net.trace.graph.nodes)}
    found = {}
    for node in net.trace.graph.nodes:
        operands = _operands(node)
        if operands is None:
            continue
        ways = [_back(operand, layers) for operand in operands]
        if not ways[0] or not ways[1]:
            continue
        query, key = (layers[way[0]] for way in ways)
        own = {name for one in (query, key) for name in (one.weight, one.bias) if name}
        for axis in net.prunable:
            places = {(member.tensor, member.dim) for member in axis.members}
            if (
                {(query.weight, query.out), (key.weight, key.out)} <= places
                and {tensor for tensor, _ in places} <= own
                and query.weight != key.weight
            ):
                way = sorted({*ways[0], *ways[1]}, key=position.__getitem__)
                pair = Pair(query, key, axis.name, _is_softmaxed(node), tuple(way))
                found[pair.later] = pair
    return found


def by_head(axis: Axis, one: Projection) -> Tensor | None:
    """Rows of a projection's weight, int64 [heads, size]: the n-th index of each unit is in the n-th head.

    None where units do not stand for one index of each head.
    """
    units = torch.tensor(next(m.units for m in axis.members if (m.tensor, m.dim) == (one.weight, one.out)))
    found = [(units == unit).nonzero().flatten() for unit in range(axis.size)]
    same = len({len(rows) for rows in found}) == 1 and bool((units >= 0).all())
    return torch.stack(found, 1) if same else None


def _operands(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    name = operator_name(node.target) if node.op == "call_function" else ""
    if name not in ("aten.scaled_dot_product_attention", "aten.matmul", "aten.bmm"):
        return None
    first, second = node.args[:2]
    return (first, second) if isinstance(first, fx.Node) and isinstance(second, fx.Node) else None


def _back(node: fx.Node, layers: Mapping[fx.Node, Projection]) -> list[fx.Node]:
    """From the projection that a value is a view of to the value; empty where it is none of a single one."""
    way = [node]
    while way[0] not in layers:
        here = way[0]
        sources = here.all_input_nodes
        name = operator_name(here.target) if here.op == "call_function" else ""
        passes = name in _PASSES or _is_constant_factor(here, name)
        if len(sources) != 1 or not passes or len(here.users) != 1:
            return []
        way.insert(0, sources[0])
    return way if len(way[0].users) == 1 and layers[way[0]].window is None else []


def _is_constant_factor(node: fx.Node, name: str) -> bool:
    """Whether it multiplies or divides a tensor by a number."""
    first, other = node.args[:2] if name in _SCALES else (None, None)
    return isinstance(first, fx.Node) and isinstance(other, int | float)


def _is_softmaxed(node: fx.Node) -> bool:
    """Whether a softmax over the last dimension, that of keys, is all that reads the scores."""
    if operator_name(node.target) == "aten.scaled_dot_product_attention":
        return True
    while len(node.users) == 1:
        reader = next(iter(node.users))
        name = operator_name(reader.target) if reader.op == "call_function" else ""
        if name in ("aten.softmax", "aten._softmax"):
            return bind(reader)["dim"] in (-1, node.meta["val"].ndim - 1)
        if name not in _ON_THE_WAY and not _is_constant_factor(reader, name):
            return False
        if reader.meta["val"].shape != node.meta["val"].shape:
            return False
        node = reader
    return False
