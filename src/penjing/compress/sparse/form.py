"""Forms of a sparse matrix: compressed rows, and compressed rows of blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

        Indices have 32 bits: half the room of PyTorch's own, and MKL need not convert them at every product.
        """
        with _quiet():
            made = dense.to_sparse_csr() if self.block == 1 else dense.to_sparse_bsr((self.block, self.block))
        shape = (int(dense.shape[0]), int(dense.shape[1]))
        return self.rebuild(made.crow_indices().int(), made.col_indices().int(), made.values(), shape)

    def rebuild(self, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
        """The same from its parts."""
        make = torch.sparse_csr_tensor if self.block == 1 else torch.sparse_bsr_tensor
        with _quiet():
            return make(rows, columns, values, shape, check_invariants=True)


def decode(matrix: Tensor) -> Tensor:
    """The dense matrix."""
    with _quiet():
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


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch calls these forms beta, once a process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse .* tensor support is in beta state")
        yield
