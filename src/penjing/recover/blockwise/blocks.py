"""Where a network can be taken apart: points at which one tensor carries all that has been learnt so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import Tensor, fx

from penjing.network import Network


@dataclass(frozen=True)
class Block:
    """A stretch of a network that reads one tensor and gives one.

    Attributes:
        nodes: its operators in order, those that only look at masks and shapes among them.
        weights: names of the parameters that it alone reads.
        ends: its last operator; None for the last block, which gives the outputs of the network.
    """

    nodes: tuple[fx.Node, ...]
    weights: tuple[str, ...]
    ends: fx.Node | None


def blocks(net: Network) -> tuple[Block, ...]:
    """The blocks of a network, each as small as it can be with a layer in it.

    A block ends where a single tensor that depends on parameters is still to be read: behind a residual sum,
    or between two layers of a plain chain. Parameters that several blocks read belong to none of them.
    """
    state = net.trace.state
    order = list(net.trace.graph.nodes)
    left = {node: len(node.users) for node in order}
    learnt: set[fx.Node] = set()
    live: set[fx.Node] = set()
    found: list[tuple[list[fx.Node], list[str]]] = [([], [])]
    pending = False  # the block could end where we are
    for node in order:
        own = [state[source.name] for source in node.all_input_nodes if source.name in state]
        if pending and own:
            found.append(([], []))
            pending = False
        if node.op == "placeholder":
            continue
        found[-1][0].append(node)
        found[-1][1].extend(own)
        if own or not learnt.isdisjoint(node.all_input_nodes):
            learnt.add(node)
            live.add(node)
        for source in node.all_input_nodes:
            left[source] -= 1
            if not left[source]:
                live.discard(source)
        whole = isinstance(node.meta.get("val"), Tensor) and node.meta["val"].is_floating_point()
        pending = whole and live == {node} and _has_layer(net, found[-1][1])
    reads = Counter(name for _, names in found for name in dict.fromkeys(names))
    return tuple(
        Block(
            tuple(nodes),
            tuple(name for name in dict.fromkeys(names) if reads[name] == 1),
            nodes[-1] if place < len(found) - 1 else None,
        )
        for place, (nodes, names) in enumerate(found)
    )


def _has_layer(net: Network, names: list[str]) -> bool:
    return any(len(net.tensors[name]) > 1 for name in names if name in net.tensors)
