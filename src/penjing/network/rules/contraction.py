"""Sums of products over an axis that two tensors share."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Dims, Op
from penjing.network.rules.elementwise import tie_broadcast


def linear(op: Op, axes: Space) -> None:
    """linear(x[*b i], w[o i], bias[o]?) -> y[*b o]"""
    x, w, bias = op.dims("input"), op.dims("weight"), op.maybe("bias")
    axes.tie(x[-1], w[-1])
    rows = w[:1] if len(w) == 2 else ()
    _same(axes, op.output, (*x[:-1], *rows))
    if bias:
        _same(axes, bias, rows)
    op.contracts = True


def matmul(op: Op, axes: Space) -> None:
    """matmul(x[*b n k], y[*b k m]) -> z[*b n m]; one-dimensional arguments are a row or a column."""
    _product(op, axes, *_two(op), op.output)


def addmm(op: Op, axes: Space) -> None:
    """addmm(c[n m], x[n k], y[k m]) -> z[n m], c broadcast; addbmm, baddbmm, addmv and addr alike"""
    added, *factors = (dims for dims in op.inputs())
    _product(op, axes, factors[0], factors[1], op.output)
    tie_broadcast(axes, added, op.output)


def addbmm(op: Op, axes: Space) -> None:
    """addbmm(c[n m], x[b n k], y[b k m]) -> z[n m]: sums over the batch too"""
    added, (xb, n, xk), (yb, yk, m) = op.inputs()
    axes.tie(xb, yb)
    axes.tie(xk, yk)
    _same(axes, op.output, (n, m))
    tie_broadcast(axes, added, op.output)
    op.contracts = True


def outer(op: Op, axes: Space) -> None:
    """outer(x[n], y[m]) -> z[n m]"""
    (n,), (m,) = _two(op)
    _same(axes, op.output, (n, m))


def bilinear(op: Op, axes: Space) -> None:
    """bilinear(x[*b i], y[*b j], w[o i j], bias[o]?) -> z[*b o]"""
    x, y, w, bias = op.dims("input1"), op.dims("input2"), op.dims("weight"), op.maybe("bias")
    axes.tie(x[-1], w[1])
    axes.tie(y[-1], w[2])
    _same(axes, x[:-1], y[:-1])
    _same(axes, op.output, (*x[:-1], w[0]))
    if bias:
        axes.tie(bias[0], w[0])
    op.contracts = True


def einsum(op: Op, axes: Space) -> None:
    """einsum(equation, x, y, ...): every letter is one dimension; those not in the output are summed over."""
    equation = op.value("equation").replace(" ", "")
    operands = [dims for dims in op.many("tensors") if dims is not None]
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted({c for c in left if c.isalpha() and left.count(c) == 1})
        right = ("..." if "..." in left else "") + "".join(letters)
    bound: dict[str, Dim] = {}
    for term, dims in [*zip(terms, operands, strict=True), (right, op.output)]:
        for letter, dim in zip(_letters(term, len(dims)), dims, strict=True):
            if axes.size(dim) == 1:
                continue
            axes.tie(bound.setdefault(letter, dim), dim)
    op.contracts = True


def cdist(op: Op, axes: Space) -> None:
    """cdist(x[*b n k], y[*b m k]) -> d[*b n m]"""
    x, y = op.dims("x1"), op.dims("x2")
    axes.tie(x[-1], y[-1])
    _same(axes, op.output[-2:], (x[-2], y[-2]))
    tie_broadcast(axes, x[:-2], op.output[:-2])
    tie_broadcast(axes, y[:-2], op.output[:-2])
    op.contracts = True


def cosine_similarity(op: Op, axes: Space) -> None:
    """cosine_similarity(x[*a k *b], y[*a k *b], dim) -> z[*a *b]"""
    x, y = op.dims("x1"), op.dims("x2")
    rank = max(len(x), len(y))
    whole = x if len(x) == rank else y
    tie_broadcast(axes, x, whole)
    tie_broadcast(axes, y, whole)
    place = op.value("dim") % rank
    tie_broadcast(axes, (*whole[:place], *whole[place + 1 :]), op.output)
    op.contracts = True


def _product(op: Op, axes: Space, x: Dims, y: Dims, z: Dims) -> None:
    """Matrix product of x and y into z, batch dimensions broadcast."""
    rows = x[-2:-1] if len(x) > 1 else ()
    columns = y[-1:] if len(y) > 1 else ()
    axes.tie(x[-1], y[-2] if len(y) > 1 else y[-1])
    matrix = (*rows, *columns)
    batch = z[: len(z) - len(matrix)]
    _same(axes, z[len(z) - len(matrix) :], matrix)
    tie_broadcast(axes, x[:-2], batch)
    tie_broadcast(axes, y[:-2], batch)
    op.contracts = True


def _two(op: Op) -> tuple[Dims, Dims]:
    first, second = op.inputs()
    return first, second


def _same(axes: Space, left: Dims, right: Dims) -> None:
    for one, other in zip(left, right, strict=True):
        axes.tie(one, other)


def _letters(term: str, rank: int) -> list[str]:
    """One name per dimension; an ellipsis stands for as many, named by their distance from its end."""
    if "..." not in term:
        return list(term)
    before, after = term.split("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(f"...{hidden - i}" for i in range(hidden)), *after]
