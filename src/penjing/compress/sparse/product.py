"""The product that sparse layers are for: as a function, and as operators that exported programs hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from penjing.compress.sparse.form import matrix_of_parts


def product(matrix: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    """matrix[o i] @ right[i n] + bias[o]? -> [o n], contiguous.

    PyTorch's product (MKL) is quick where the sparse factor stands on the left and the result lies in memory
    row by row: with `right` and result by columns, 1024 features on 32 rows take four times as long.
    """
    if bias is None:
        return torch.mm(matrix, right)
    return torch.addmm(bias.unsqueeze(1), matrix, right)


def linear(matrix: Tensor, x: Tensor, bias: Tensor | None, *, by_columns: bool) -> Tensor:
    """x[*b i] @ matrix[o i].T + bias[o]? -> [*b o], a transposed view if `by_columns`, else contiguous.

    A single row is a case of its own where rows of the matrix are compressed: as a vector it takes half the
    time. Blocks are quicker as a matrix even then.
    """
    outputs, inputs = matrix.shape
    if x.numel() == inputs and matrix.layout is torch.sparse_csr:
        vector = x.reshape(inputs)
        made = torch.mv(matrix, vector) if bias is None else torch.addmv(bias, matrix, vector)
        return made.reshape(*x.shape[:-1], outputs)
    return _laid_out(product(matrix, x.reshape(-1, inputs).t(), bias), x.shape[:-1], by_columns)


def _laid_out(made: Tensor, sizes: Sequence[int], by_columns: bool) -> Tensor:
    """made[o n] -> [*sizes o], where n is the product of sizes."""
    rows = made.t() if by_columns else made.t().contiguous()
    return rows.reshape(*sizes, made.shape[0])


# As operators: `torch.export` cannot save sparse tensors, and `torch.compile` cannot make them, so that
# matrices are given by their parts. A whole linear layer is one operator, since each call in a program takes
# a microsecond or two. To run such a program, `import penjing.compress`.


def _product_of_parts(
    rows: Tensor, columns: Tensor, values: Tensor, right: Tensor, bias: Tensor | None
) -> Tensor:
    shape = (_outputs(rows, values), right.shape[0])
    return product(matrix_of_parts(rows, columns, values, shape), right, bias)


def _linear_of_parts(
    rows: Tensor, columns: Tensor, values: Tensor, x: Tensor, bias: Tensor | None, by_columns: bool
) -> Tensor:
    matrix = matrix_of_parts(rows, columns, values, (_outputs(rows, values), x.shape[-1]))
    return linear(matrix, x, bias, by_columns=by_columns)


def _product_sized(
    rows: Tensor, columns: Tensor, values: Tensor, right: Tensor, bias: Tensor | None
) -> Tensor:
    return right.new_empty(_outputs(rows, values), right.shape[1])


def _linear_sized(
    rows: Tensor, columns: Tensor, values: Tensor, x: Tensor, bias: Tensor | None, by_columns: bool
) -> Tensor:
    made = x.new_empty(_outputs(rows, values), math.prod(x.shape[:-1]))
    return _laid_out(made, x.shape[:-1], by_columns)


def _outputs(rows: Tensor, values: Tensor) -> int:
    """Rows of the matrix: `rows` holds where each of them, or each row of blocks, begins, and an end."""
    return (rows.numel() - 1) * (values.shape[1] if values.ndim == 3 else 1)


_PARTS: Final = "Tensor rows, Tensor columns, Tensor values"
_OPERATORS: Final[Mapping[str, tuple[str, Callable[..., Tensor], Callable[..., Tensor]]]] = MappingProxyType(
    {
        "sparse_product": (f"{_PARTS}, Tensor right, Tensor? bias", _product_of_parts, _product_sized),
        "sparse_linear": (
            f"{_PARTS}, Tensor x, Tensor? bias, bool by_columns",
            _linear_of_parts,
            _linear_sized,
        ),
    }
)
"""Arguments, what computes the result, and what only tells its sizes."""

_LIBRARY: Final = torch.library.Library("penjing", "FRAGMENT")
"""Operators are there as long as this is."""

for _name, (_arguments, _computing, _sizing) in _OPERATORS.items():
    _LIBRARY.define(f"{_name}({_arguments}) -> Tensor")
    _LIBRARY.impl(_name, _computing, "CPU")
    torch.library.register_fake(f"penjing::{_name}", _sizing, lib=_LIBRARY)
