"""Operators that are not of one sample at a time, done on a batch that is spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from penjing import processes

_aten = torch.ops.aten


class WholeBatch(TorchFunctionMode):
    """Inside, a batch norm in training mode takes the statistics of the samples of all processes.

    And a dropout draws its mask for all of them, and uses its own rows of it. Whatever else draws random
    numbers does so by itself.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        """`rows` are the samples of every process."""
        super().__init__()
        self._rows, self._own = rows, rows[processes.rank()]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replaces an operator where it is one of those."""
        reading = _READ.get(func)
        if reading is not None:
            done = getattr(self, f"_{reading[0]}")(**_named(reading[1], args, kwargs or {}))
            if done is not None:
                return done
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        input: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
        **_: Any,
    ) -> Tensor | None:
        """(x - mean) / sqrt(var + eps) * weight + bias, mean and var over the samples of all processes.

        Source: Ioffe, Szegedy 2015, arXiv:1502.03167, algorithm 1; sums are in float64.
        """
        if not training or len(input) % self._own:
            return None
        dims = [dim for dim in range(input.ndim) if dim != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        count = input.numel() // input.shape[1] // self._own * sum(self._rows)
        mean = _total(input.sum(dims, dtype=torch.float64)) / count
        apart = input - mean.to(input.dtype).view(shape)
        variance = _total(apart.square().sum(dims, dtype=torch.float64)) / count
        with torch.no_grad():
            if running_mean is not None:
                running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
            if running_var is not None:
                unbiased = variance.detach() * (count / max(1, count - 1))
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        found: Tensor = apart * (variance + eps).rsqrt().to(input.dtype).view(shape)
        if weight is not None:
            found = found * weight.view(shape)
        return found if bias is None else found + bias.view(shape)

    def _dropout(self, input: Tensor, p: float = 0.5, train: bool = True, **_: Any) -> Tensor | None:
        """Every number for itself."""
        return self._dropped(input, p, train, input.shape[1:])

    def _feature_dropout(self, input: Tensor, p: float = 0.5, train: bool = True, **_: Any) -> Tensor | None:
        """Whole channels."""
        return self._dropped(input, p, train, (input.shape[1], *[1] * (input.ndim - 2)))

    def _dropped(self, input: Tensor, p: float, train: bool, sizes: Sequence[int]) -> Tensor | None:
        if not train or not 0 < p < 1 or not input.ndim or len(input) % self._own:
            return None
        each = len(input) // self._own
        first = each * sum(self._rows[: processes.rank()])
        mask = input.detach().new_empty((each * sum(self._rows), *sizes))
        if input.ndim == 4 and tuple(sizes) == input.shape[1:] and not input.is_contiguous():
            mask = mask.contiguous(memory_format=torch.channels_last)
        mask.bernoulli_(1 - p).div_(1 - p)
        return input * mask[first : first + len(input)]


class _Total(torch.autograd.Function):
    """The sum over processes, each of which goes on with all of it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        processes.sum_([total])
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        processes.sum_([total])
        return total


def _total(value: Tensor) -> Tensor:
    total: Tensor = _Total.apply(value)  # type: ignore[no-untyped-call]
    return total


_NORM: Final = (
    "input",
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "training",
    "momentum",
    "eps",
    "cudnn",
)
_DROP: Final = ("input", "p", "train")
_READ: Final[Mapping[Callable[..., Any], tuple[str, tuple[str, ...]]]] = MappingProxyType(
    {
        F.batch_norm: (
            "batch_norm",
            ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
        ),
        torch.batch_norm: ("batch_norm", _NORM),
        _aten.batch_norm.default: ("batch_norm", _NORM),
        F.dropout: ("dropout", _DROP),
        torch.dropout: ("dropout", _DROP),
        _aten.dropout.default: ("dropout", _DROP),
        F.dropout1d: ("feature_dropout", _DROP),
        F.dropout2d: ("feature_dropout", _DROP),
        F.dropout3d: ("feature_dropout", _DROP),
        torch.feature_dropout: ("feature_dropout", _DROP),
        _aten.feature_dropout.default: ("feature_dropout", _DROP),
    }
)
"""Operator -> what is done in its place, and the names of its arguments in order."""


def _named(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments by name."""
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    if "train" in names and "training" in named:
        named["train"] = named.pop("training")
    return named
