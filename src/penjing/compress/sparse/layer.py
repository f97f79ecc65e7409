"""Layers whose matrix is sparse: what `nn.Linear` and `nn.Conv2d` compute, for inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.compress.sparse.form import Form, decode


class SparseLayer(nn.Module):
    """A layer that multiplies by a sparse matrix of (outputs, inputs).

    PyTorch's product of a sparse matrix (MKL) is quick where the sparse one stands on the left: inputs are
    transposed, and outputs back, as views.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    bias: Tensor | None
    _bias: Tensor | None

    def __init__(self, form: Form, matrix: Tensor, bias: Tensor | None) -> None:
        """Takes the parts of `matrix`, which is in `form`.

        Args:
            form: of the matrix.
            matrix: (outputs, inputs), as `Form.encode` gives it.
            bias: (outputs,), or None.
        """
        super().__init__()
        self.form, self.shape = form, (int(matrix.shape[0]), int(matrix.shape[1]))
        self.register_buffer("rows", matrix.crow_indices())
        self.register_buffer("columns", matrix.col_indices())
        self.register_buffer("values", matrix.values())
        self.register_buffer("bias", bias)
        self._build()

    def _build(self) -> None:
        """Putting the parts together takes longer than many a product: it is done once."""
        self._matrix = self.form.rebuild(self.rows, self.columns, self.values, self.shape)
        self._bias = None if self.bias is None else self.bias.reshape(-1, 1)

    def __getstate__(self) -> dict[str, Any]:
        """For copies: a sparse tensor cannot be copied, its parts can."""
        return {name: value for name, value in vars(self).items() if name not in ("_matrix", "_bias")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._build()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SparseLayer:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._build()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._build()

    @property
    def matrix(self) -> Tensor:
        """The dense matrix: (outputs, inputs)."""
        return decode(self._matrix)

    def product(self, columns: Tensor) -> Tensor:
        """The matrix times (inputs, count), bias added: (outputs, count)."""
        if self._bias is None:
            return torch.mm(self._matrix, columns)
        return torch.addmm(self._bias, self._matrix, columns)

    def extra_repr(self) -> str:
        """Sizes and form."""
        outputs, inputs = self.shape
        return f"{inputs}, {outputs}, form={self.form.name}, stored={self.values.numel()}"


class SparseLinear(SparseLayer):
    """`nn.Linear`."""

    @classmethod
    def of(cls, layer: nn.Linear, form: Form) -> SparseLinear:
        """From a dense layer, which is left as it was."""
        return cls(form, form.encode(layer.weight.detach()), _bias_of(layer))

    @property
    def weight(self) -> Tensor:
        """Dense, for code that asks for it."""
        return self.matrix

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        rows = x.reshape(-1, self.shape[1])
        return self.product(rows.t()).t().reshape(*x.shape[:-1], self.shape[0])


class SparseConv2d(SparseLayer):
    """`nn.Conv2d` without groups, as a matrix product over patches.

    Where the kernel is one pixel and every pixel is taken, the image is its own patches.
    """

    def __init__(
        self, form: Form, matrix: Tensor, bias: Tensor | None, geometry: Mapping[str, tuple[int, int]]
    ) -> None:
        """As for any layer.

        Args:
            form: of the matrix.
            matrix: (outputs, inputs * height * width of the kernel).
            bias: (outputs,), or None.
            geometry: `kernel_size`, `stride`, `padding` and `dilation`.
        """
        super().__init__(form, matrix, bias)
        self.geometry = MappingProxyType({name: (int(a), int(b)) for name, (a, b) in geometry.items()})
        self._plain = all(self.geometry[name] == value for name, value in _PLAIN.items())

    @classmethod
    def of(cls, layer: nn.Conv2d, form: Form) -> SparseConv2d:
        """From a dense layer, which is left as it was."""
        geometry = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
        return cls(form, form.encode(layer.weight.detach().flatten(1)), _bias_of(layer), geometry)

    @property
    def weight(self) -> Tensor:
        """Dense, for code that asks for it."""
        return self.matrix.reshape(self.shape[0], -1, *self.geometry["kernel_size"])

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w'); without the n, too."""
        images = x if x.ndim == 4 else x.unsqueeze(0)
        made = torch.stack([self._one(image) for image in images]) if len(images) != 1 else None
        made = self._one(images[0]).unsqueeze(0) if made is None else made
        return made if x.ndim == 4 else made.squeeze(0)

    def _one(self, image: Tensor) -> Tensor:
        if self._plain:
            return self.product(image.flatten(1)).reshape(self.shape[0], *image.shape[1:])
        kernel, stride, padding, dilation = (
            self.geometry[name] for name in ("kernel_size", "stride", "padding", "dilation")
        )
        patches = functional.unfold(image.unsqueeze(0), kernel, dilation, padding, stride)[0]
        sizes = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(image.shape[1:], kernel, stride, padding, dilation, strict=True)
        ]
        return self.product(patches).reshape(self.shape[0], *sizes)


_PLAIN: Final = {"kernel_size": (1, 1), "stride": (1, 1), "padding": (0, 0)}


def made_sparse(layer: nn.Module, form: Form) -> SparseLayer:
    """The sparse counterpart of a layer that `suits` does not object to."""
    if isinstance(layer, nn.Linear):
        return SparseLinear.of(layer, form)
    assert isinstance(layer, nn.Conv2d)
    return SparseConv2d.of(layer, form)


def _bias_of(layer: nn.Module) -> Tensor | None:
    return layer.bias.detach().clone() if isinstance(layer.bias, Tensor) else None


def matrix_of(layer: nn.Module) -> Tensor:
    """The matrix of a dense layer: (outputs, inputs)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().flatten(1)
