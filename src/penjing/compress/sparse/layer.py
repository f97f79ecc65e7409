"""Layers whose matrix is sparse: what `nn.Linear` and `nn.Conv2d` compute, for inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.compress.sparse.form import Form, decode, matrix_of_parts
from penjing.compress.sparse.product import linear, product
from penjing.errors import PenjingError

STORED: Final = (torch.float32, torch.float64)
"""Types of numbers that there are products in."""


class SparseLayer(nn.Module):
    """A layer that multiplies by a sparse matrix of (outputs, inputs).

    For inference in the type of its numbers: no gradients, no autocast. `torch.export` and `torch.compile`
    see one operator (`penjing::sparse_linear`, `penjing::sparse_product`).
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    bias: Tensor | None

    def __init__(self, form: Form, matrix: Tensor, bias: Tensor | None) -> None:
        """Takes the parts of `matrix`, which is in `form`.

        Args:
            form: of the matrix.
            matrix: (outputs, inputs), as `Form.encode` gives it.
            bias: (outputs,), or None.
        """
        super().__init__()
        self.form, self.shape = form, (int(matrix.shape[0]), int(matrix.shape[1]))
        # Copies: what a sparse tensor gives out are views of it, which `torch.export` refuses.
        self.register_buffer("rows", matrix.crow_indices().detach().clone())
        self.register_buffer("columns", matrix.col_indices().detach().clone())
        self.register_buffer("values", matrix.values().detach().clone())
        self.register_buffer("bias", bias)
        self._build()

    def _build(self) -> None:
        """Putting the parts together takes longer than many a product: it is done once."""
        self._matrix = matrix_of_parts(self.rows, self.columns, self.values, self.shape)

    def __getstate__(self) -> dict[str, Any]:
        """For copies: a sparse tensor cannot be copied, its parts can."""
        return {name: value for name, value in vars(self).items() if name != "_matrix"}

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

    def check(self, x: Tensor) -> None:
        """Makes sure that the layer can work on `x`.

        Raises:
            PenjingError: PJ803, a gradient is asked for, or the numbers are of another type.
        """
        if (
            x.dtype != self.values.dtype
            or x.dtype not in STORED
            or (x.requires_grad and torch.is_grad_enabled())
            or torch.is_autocast_enabled("cpu")
        ):
            raise self._refused(x)

    def _refused(self, x: Tensor) -> PenjingError:
        own = str(self.values.dtype).removeprefix("torch.")
        if x.dtype != self.values.dtype:
            because = f"its numbers are {own}, and its input is {str(x.dtype).removeprefix('torch.')}"
        elif x.dtype not in STORED:
            because = f"there is no sparse product in {own}"
        elif torch.is_autocast_enabled("cpu"):
            because = "it is called under autocast, and its product has no narrower type"
        else:
            because = "its input asks for a gradient, and it is for inference alone"
        return PenjingError(
            "PJ803",
            f"a sparse layer of {self.shape[1]} inputs and {self.shape[0]} outputs cannot work on this",
            because=because,
            tries=[
                "call it under torch.inference_mode()",
                f"give it {own}, without autocast",
                "train before",
            ],
        )

    def extra_repr(self) -> str:
        """Sizes and form."""
        outputs, inputs = self.shape
        return f"{inputs}, {outputs}, form={self.form.name}, stored={self.values.numel()}"


class SparseLinear(SparseLayer):
    """`nn.Linear`.

    Attributes:
        by_columns: whether outputs lie by columns, as the product leaves them. Code behind the layer that
            looks at how they lie, above all `view`, needs them by rows, as they come from a dense layer.
    """

    by_columns: bool = False

    @property
    def in_features(self) -> int:
        """As of `nn.Linear`."""
        return self.shape[1]

    @property
    def out_features(self) -> int:
        """As of `nn.Linear`."""
        return self.shape[0]

    @classmethod
    def of(cls, layer: nn.Linear, form: Form, *, by_columns: bool = False) -> SparseLinear:
        """From a dense layer, which is left as it was."""
        made = cls(form, form.encode(layer.weight.detach()), _bias_of(layer))
        made.by_columns = by_columns
        return made

    @property
    def weight(self) -> Tensor:
        """Dense, for code that asks for it."""
        return self.matrix

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if torch.compiler.is_compiling():
            found: Tensor = torch.ops.penjing.sparse_linear(
                self.rows, self.columns, self.values, x, self.bias, self.by_columns
            )
            return found
        self.check(x)
        return linear(self._matrix, x, self.bias, by_columns=self.by_columns)


class SparseConv2d(SparseLayer):
    """`nn.Conv2d` without groups, as a matrix product over patches.

    Where the kernel is one pixel and every pixel is taken, the image is its own patches.

    Attributes:
        groups: as of `nn.Conv2d`: none.
        padding_mode: likewise: zeros.
    """

    groups: Final = 1
    padding_mode: Final = "zeros"

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
        self.geometry = {name: (int(a), int(b)) for name, (a, b) in geometry.items()}
        self._plain = all(self.geometry[name] == value for name, value in _PLAIN.items())
        self.kernel_size, self.stride = self.geometry["kernel_size"], self.geometry["stride"]
        self.padding, self.dilation = self.geometry["padding"], self.geometry["dilation"]
        self.in_channels = self.shape[1] // math.prod(self.kernel_size)
        self.out_channels = self.shape[0]

    @classmethod
    def of(cls, layer: nn.Conv2d, form: Form) -> SparseConv2d:
        """From a dense layer, which is left as it was."""
        return cls(form, form.encode(layer.weight.detach().flatten(1)), _bias_of(layer), geometry_of(layer))

    @property
    def weight(self) -> Tensor:
        """Dense, for code that asks for it."""
        return self.matrix.reshape(self.out_channels, self.in_channels, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w'); without the n, too.

        Raises:
            RuntimeError: `x` has another number of dimensions or channels, as of `nn.Conv2d`.
        """
        images = x if x.ndim == 4 else x.unsqueeze(0)
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise RuntimeError(
                f"expected (n, {self.in_channels}, h, w), with n or without; got {tuple(x.shape)}"
            )
        if self._plain:
            patches = images.flatten(2)
        else:
            patches = functional.unfold(images, self.kernel_size, self.dilation, self.padding, self.stride)
        sizes = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(
                images.shape[2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        # One product for all images; with one image, both changes of order are views.
        count, places = len(images), math.prod(sizes)
        side_by_side = patches.transpose(0, 1).reshape(self.shape[1], count * places)
        made = self._product(side_by_side).view(self.shape[0], count, places).transpose(0, 1)
        return made.contiguous().view(*x.shape[:-3], self.shape[0], *sizes)

    def _product(self, right: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            found: Tensor = torch.ops.penjing.sparse_product(
                self.rows, self.columns, self.values, right, self.bias
            )
            return found
        self.check(right)
        return product(self._matrix, right, self.bias)


def geometry_of(layer: nn.Conv2d) -> dict[str, tuple[int, int]]:
    """What a convolution does besides its weights: `kernel_size`, `stride`, `padding` and `dilation`."""
    found = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    return {name: (int(a), int(b)) for name, (a, b) in found.items()}


_PLAIN: Final = {"kernel_size": (1, 1), "stride": (1, 1), "padding": (0, 0)}


def made_sparse(layer: nn.Module, form: Form, *, by_columns: bool = False) -> SparseLayer:
    """The sparse counterpart of a layer that `suits` does not object to.

    Args:
        layer: dense; it is left as it was.
        form: to store it in.
        by_columns: whether outputs may lie by columns; those of a convolution never do.
    """
    if isinstance(layer, nn.Linear):
        return SparseLinear.of(layer, form, by_columns=by_columns)
    assert isinstance(layer, nn.Conv2d)
    return SparseConv2d.of(layer, form)


def _bias_of(layer: nn.Module) -> Tensor | None:
    return layer.bias.detach().clone() if isinstance(layer.bias, Tensor) else None


def matrix_of(layer: nn.Module) -> Tensor:
    """The matrix of a dense layer: (outputs, inputs)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().flatten(1)
