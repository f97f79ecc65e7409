"""Forms of a sparse matrix: compressed rows, and compressed rows of blocks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
from torch import Tensor

BLOCKS: Final = (4, 8, 16, 32)
"""Sides of the blocks that are tried."""

_MOST_KEPT: Final = 0.5
"""Share of stored numbers from which no form is tried: at half of them all took 1.2x of dense or more."""


@dataclass(frozen=True)
class Form:
    """How a matrix is stored.

    Attributes:
        block: side of a block; 1 for compressed rows (CSR), more for blocks of them (BSR).
    """

    block: int = 1

    @property
    def name(self) -> str:
        """`csr`, or `bsr16`."""
        return "csr" if self.block == 1 else f"bsr{self.block}"

    @classmethod
    def read(cls, name: str) -> Form:
        """The inverse of `name`."""
        return cls(int(name.removeprefix("bsr")) if name != "csr" else 1)

    def encode(self, dense: Tensor) -> Tensor:
        """A matrix in this form, without its zeros; with those inside of a block that holds other numbers.

        Every other number comes back bit for bit; of zeros, -0.0 (what a mask leaves of a negative number)
        comes back as 0.0. Indices have 32 bits: half the room of PyTorch's own, and MKL need not convert them
        at every product.
        """
        _hush()
        made = dense.to_sparse_csr() if self.block == 1 else dense.to_sparse_bsr((self.block, self.block))
        parts = (made.crow_indices().int(), made.col_indices().int(), made.values())
        return matrix_of_parts(*parts, (int(dense.shape[0]), int(dense.shape[1])), check=True)


def matrix_of_parts(
    rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int], *, check: bool = False
) -> Tensor:
    """The matrix that parts belong to; `values` tells its form, by having blocks or not.

    Args:
        rows: where each row (of blocks) begins, and where the last ends.
        columns: of each number, or of each block.
        values: (stored,), or (stored blocks, side, side).
        shape: of the matrix.
        check: whether to look at every index. That takes longer than a product.

    Raises:
        RuntimeError: with `check`, they belong to no such matrix.
    """
    make = torch.sparse_bsr_tensor if values.ndim == 3 else torch.sparse_csr_tensor
    _hush()
    return make(rows, columns, values, shape, check_invariants=check)


def decode(matrix: Tensor) -> Tensor:
    """The dense matrix."""
    _hush()
    return matrix.to_dense()


def candidates(dense: Tensor) -> list[Form]:
    """Forms that hold at most half as many numbers as the matrix has."""
    forms = []
    for form in (Form(), *map(Form, BLOCKS)):
        if any(size % form.block for size in dense.shape):
            continue
        if kept(dense, form) <= _MOST_KEPT:
            forms.append(form)
    return forms


def kept(dense: Tensor, form: Form) -> float:
    """The share of its numbers that are stored."""
    nonzero = dense != 0
    if form.block > 1:
        rows, columns = (size // form.block for size in dense.shape)
        nonzero = nonzero.reshape(rows, form.block, columns, form.block).any(3).any(1)
    return float(nonzero.double().mean()) if nonzero.numel() else 1.0


@cache
def _hush() -> None:
    """PyTorch calls these forms beta, once a process, at the first one: this is it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse .* tensor support is in beta state")
        torch.eye(1).to_sparse_csr()
