"""Sums of products over an axis that two tensors share."""

from __future__ import annotations

from itertools import pairwise

from penjing.axes import Space
from penjing.network.op import Dims, Op
from penjing.network.rules import ties


def linear(op: Op, axes: Space) -> None:
    """linear(x[*b i], w[o i], bias[o]?) -> y[*b o]; without o where w is one row"""
    x, w, bias = op.dims("input"), op.dims("weight"), op.maybe("bias")
    axes.tie(x[-1], w[-1])
    ties.same(axes, op.output, (*x[:-1], *w[:-1]))
    if bias:
        ties.same(axes, bias, w[:-1])
    op.contracts = True


def matmul(op: Op, axes: Space) -> None:
    """matmul(x[*b n k], y[*b k m]) -> z[*b n m]; one-dimensional arguments are a row or a column"""
    x, y = op.inputs()
    _product(op, axes, x, y)


def addmm(op: Op, axes: Space) -> None:
    """addmm(c[n m], x[n k], y[k m]) -> z[n m], c broadcast; baddbmm and addmv alike"""
    added, x, y = op.inputs()
    _product(op, axes, x, y)
    ties.broadcast(axes, added, op.output)


def addbmm(op: Op, axes: Space) -> None:
    """addbmm(c[n m], x[b n k], y[b k m]) -> z[n m]: sums over the batch too"""
    added, (xb, n, xk), (yb, yk, m) = op.inputs()
    axes.tie(xb, yb)
    axes.tie(xk, yk)
    ties.same(axes, op.output, (n, m))
    ties.broadcast(axes, added, op.output)
    op.contracts = True


def chain(op: Op, axes: Space) -> None:
    """chain_matmul([x[n k], y[k l], z[l m], ...]) -> [n m]; the first and the last may be vectors"""
    factors = op.inputs()
    for left, right in pairwise(factors):
        axes.tie(left[-1], right[0])
    first, last = factors[0], factors[-1]
    ties.same(axes, op.output, (*first[:-1], *last[1:]))
    op.contracts = True


def inner(op: Op, axes: Space) -> None:
    """inner(x[*a k], y[*b k]) -> z[*a *b]; a scalar only scales"""
    x, y = op.inputs()
    if x and y:
        axes.tie(x[-1], y[-1])
        x, y = x[:-1], y[:-1]
        op.contracts = True
    ties.same(axes, op.output, (*x, *y))


def outer(op: Op, axes: Space) -> None:
    """outer(x[n], y[m]) -> z[n m]; addr adds c[n m], broadcast"""
    *added, (n,), (m,) = op.inputs()
    ties.same(axes, op.output, (n, m))
    for dims in added:
        ties.broadcast(axes, dims, op.output)


def bilinear(op: Op, axes: Space) -> None:
    """bilinear(x[*b i], y[*b j], w[o i j], bias[o]?) -> z[*b o]"""
    x, y, w, bias = op.dims("input1"), op.dims("input2"), op.dims("weight"), op.maybe("bias")
    axes.tie(x[-1], w[1])
    axes.tie(y[-1], w[2])
    ties.same(axes, x[:-1], y[:-1])
    ties.same(axes, op.output, (*x[:-1], w[0]))
    if bias:
        axes.tie(bias[0], w[0])
    op.contracts = True


def tensordot(op: Op, axes: Space) -> None:
    """tensordot(x[*a *k], y[*k *b], dims_self, dims_other) -> z[*a *b], k anywhere, a 1 stretched"""
    x, y = op.dims("self"), op.dims("other")
    left, right = (
        [place % len(dims) for place in op.value(name)]
        for dims, name in ((x, "dims_self"), (y, "dims_other"))
    )
    for one, other in zip(left, right, strict=True):
        ties.broadcast(axes, (x[one],), (y[other],))
    ties.same(axes, op.output, (*ties.without(x, *left), *ties.without(y, *right)))
    op.contracts = True


def kron(op: Op, axes: Space) -> None:
    """kron(x[*n], y[*m]) -> z[*n*m]: every index of x holds a copy of y"""
    x, y, z = op.dims("self"), op.dims("other"), op.output
    for place in range(1, len(z) + 1):
        factors = [dims[-place] for dims in (x, y) if place <= len(dims)]
        axes.tie(z[-place], axes.product(*factors))


def _product(op: Op, axes: Space, x: Dims, y: Dims) -> None:
    """Matrix product of x and y into the output, batch dimensions broadcast."""
    rows = x[-2:-1] if len(x) > 1 else ()
    columns = y[-1:] if len(y) > 1 else ()
    axes.tie(x[-1], y[-2] if len(y) > 1 else y[-1])
    matrix = (*rows, *columns)
    batch = op.output[: len(op.output) - len(matrix)]
    ties.same(axes, op.output[len(batch) :], matrix)
    ties.broadcast(axes, x[:-2], batch)
    ties.broadcast(axes, y[:-2], batch)
    op.contracts = True
