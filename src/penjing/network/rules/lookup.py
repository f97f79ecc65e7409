"""Embeddings: rows of a table chosen by value."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules.elementwise import tie_broadcast
from penjing.network.rules.slicing import BY_VALUE


def embedding(op: Op, axes: Space) -> None:
    """embedding(w[v c], i[*b]) -> y[*b c]"""
    w, i = op.dims("weight"), op.dims("indices")
    axes.freeze(w[0], BY_VALUE)
    tie_broadcast(axes, i, op.output[:-1])
    axes.tie(op.output[-1], w[1])


def embedding_bag(op: Op, axes: Space) -> None:
    """embedding_bag(w[v c], i[n], offsets[b]) -> y[b c], and bookkeeping"""
    w = op.dims("weight")
    axes.freeze(w[0], BY_VALUE)
    axes.tie(op.output[-1], w[1])
    axes.freeze(op.output[0], "bags are not units")
    for dims in [*op.inputs()[1:], *(output or () for output in op.outputs[1:])]:
        for dim in dims:
            if axes.size(dim) != axes.size(w[1]):
                axes.freeze(dim, "bags are not units")
