"""Einstein summation."""

from __future__ import annotations

from penjing.axes import Dim, Space
from penjing.network.op import Op


def einsum(op: Op, axes: Space) -> None:
    """einsum(equation, [x, y, ...]): every letter is one dimension; those not put out are summed over"""
    equation = op.value("equation").replace(" ", "")
    operands = [dims for dims in op.many("tensors") if dims is not None]
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted({letter for letter in left if letter.isalpha() and left.count(letter) == 1})
        right = ("..." if "..." in left else "") + "".join(letters)
    bound: dict[str, Dim] = {}
    for term, dims in [*zip(terms, operands, strict=True), (right, op.output)]:
        for letter, dim in zip(_letters(term, len(dims)), dims, strict=True):
            if axes.size(dim) != 1:  # size 1 is broadcast
                axes.tie(bound.setdefault(letter, dim), dim)
    op.contracts = True


def _letters(term: str, rank: int) -> list[str]:
    """One name per dimension; an ellipsis stands for as many, named by their distance from its end."""
    if "..." not in term:
        return list(term)
    before, after = term.split("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(f"...{hidden - i}" for i in range(hidden)), *after]
