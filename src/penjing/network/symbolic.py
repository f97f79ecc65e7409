"""Sizes that depend on values (how many elements a mask picks), made numbers that stand for them.

The algebra counts with integers. A symbol is given a prime that divides no other size of the graph: what is
computed from it stays in step and meets nothing by chance. Its dimensions are marked, and never cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

MARK = "sized_by_value"
REASON = "its size depends on values"


def settle_sizes(graph: fx.Graph) -> None:
    """Gives every tensor whole sizes, in place; `meta[MARK]` names (output, dimension) of those made up."""
    sizes: list[Any] = [size for node in graph.nodes for tensor in _tensors(node) for size in tensor.shape]
    symbols = {symbol for size in sizes if _is_symbolic(size) for symbol in size.node.expr.free_symbols}
    if not symbols:
        return
    primes = _primes({size for size in sizes if not _is_symbolic(size)})
    stand_in = {symbol: next(primes) for symbol in sorted(symbols, key=str)}

    def settled(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not any(map(_is_symbolic, value.shape)):
            return value
        shape: list[Any] = list(value.shape)
        whole = [int(size.node.expr.subs(stand_in)) if _is_symbolic(size) else size for size in shape]
        return torch.empty(whole, dtype=value.dtype, device="meta")

    for node in graph.nodes:
        marks = [
            (output, place)
            for output, leaf in enumerate(pytree.tree_leaves(node.meta.get("val")))
            for place, size in enumerate(leaf.shape if isinstance(leaf, torch.Tensor) else ())
            if _is_symbolic(size)
        ]
        if marks:
            node.meta[MARK] = marks
            node.meta["val"] = pytree.tree_map(settled, node.meta["val"])


def _tensors(node: fx.Node) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, torch.Tensor)]


def _is_symbolic(size: Any) -> bool:
    return isinstance(size, torch.SymInt)


def _primes(sizes: set[int]) -> Iterator[int]:
    """Primes from 11 on that divide none of the sizes."""
    number = 11
    while True:
        if all(number % divisor for divisor in range(2, number)) and all(
            size % number for size in sizes if size
        ):
            yield number
        number += 2
