"""The product that sparse layers are for: as a function, and as an operator that exported programs hold."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from penjing.compress.sparse.form import matrix_of_parts

_LIBRARY: Final = torch.library.Library("penjing", "FRAGMENT")
"""Operators are there as long as this is."""

_LIBRARY.define(
    "sparse_product(Tensor rows, Tensor columns, Tensor values, Tensor right, Tensor? bias) -> Tensor"
)


def product(matrix: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    """matrix[o i] @ right[i n] + bias[o]? -> [o n], contiguous.

    PyTorch's product (MKL) is quick where the sparse factor stands on the left and the result lies in memory
    row by row: with `right` and result by columns, 1024 features on 32 rows take four times as long. One
    column is a case of its own where rows are compressed: as a vector it takes half the time. Blocks are
    quicker as a matrix even then.
    """
    if right.shape[1] == 1 and matrix.layout is torch.sparse_csr:
        vector = right.squeeze(1)
        made = torch.mv(matrix, vector) if bias is None else torch.addmv(bias, matrix, vector)
        return made.unsqueeze(1)
    if bias is None:
        return torch.mm(matrix, right)
    return torch.addmm(bias.unsqueeze(1), matrix, right)


def traced_product(
    rows: Tensor, columns: Tensor, values: Tensor, right: Tensor, bias: Tensor | None
) -> Tensor:
    """The same from the parts of the matrix, as one operator, `penjing::sparse_product`.

    `torch.export` cannot save sparse tensors, and `torch.compile` cannot make them: both keep this operator
    as it is. To run such a program, `import penjing.compress`.
    """
    made: Tensor = torch.ops.penjing.sparse_product(rows, columns, values, right, bias)
    return made


def _from_parts(rows: Tensor, columns: Tensor, values: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    return product(
        matrix_of_parts(rows, columns, values, (_outputs(rows, values), right.shape[0])), right, bias
    )


def _sized(rows: Tensor, columns: Tensor, values: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    """What the result is like, for tracers."""
    return right.new_empty(_outputs(rows, values), right.shape[1])


def _outputs(rows: Tensor, values: Tensor) -> int:
    """Rows of the matrix: `rows` holds where each of them, or each row of blocks, begins, and an end."""
    return (rows.numel() - 1) * (values.shape[1] if values.ndim == 3 else 1)


_LIBRARY.impl("sparse_product", _from_parts, "CPU")
torch.library.register_fake("penjing::sparse_product", _sized, lib=_LIBRARY)
