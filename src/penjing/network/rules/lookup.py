"""Tables whose rows are chosen by value."""

from __future__ import annotations

from penjing.axes import Space
from penjing.network.op import Op
from penjing.network.rules import ties
from penjing.network.rules.indexing import BY_VALUE

BAGS = "bags are not units"
LARGEST = 2


def embedding(op: Op, axes: Space) -> None:
    """embedding(w[v c], i[*b]) -> y[*b c]"""
    w, i = op.dims("weight"), op.dims("indices")
    axes.freeze(w[0], BY_VALUE)
    ties.same(axes, op.output, (*i, w[1]))


def embedding_bag(op: Op, axes: Space) -> None:
    """embedding_bag(w[v c], i[n], offsets[b], weights[n]?) -> y[b c], and bookkeeping"""
    w, *others = op.inputs()
    axes.freeze(w[0], BY_VALUE)
    axes.tie(op.output[-1], w[1])
    axes.freeze(op.output[0], BAGS)
    *bookkeeping, largest = ties.outputs(op)[1:]
    for dims in (*others, *bookkeeping):
        ties.freeze(axes, dims, BAGS)
    if op.value("mode") == LARGEST:
        axes.tie(largest[1], w[1])
    ties.freeze(axes, largest[:1], BAGS)


def one_hot(op: Op, axes: Space) -> None:
    """one_hot(i[*b], n) -> y[*b n]"""
    ties.same(axes, op.dims("self"), op.output[:-1])
    axes.freeze(op.output[-1], BY_VALUE)
