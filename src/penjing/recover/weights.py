"""Parameters and buffers of a model as plain tensors by name: copied, compared, put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from penjing.recover.sharded import whole, write

Weights = dict[str, Tensor]


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and every buffer, those outside of the state dict too; shared ones once."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def copied(model: nn.Module) -> Weights:
    """A copy of every parameter and buffer, contiguous, without gradients."""
    return {name: clone(tensor) for name, tensor in named_tensors(model)}


def clone(tensor: Tensor) -> Tensor:
    """A contiguous copy without gradients; of a tensor that is spread over processes, all of it."""
    return whole(tensor.detach()).clone(memory_format=torch.contiguous_format)


@torch.no_grad()
def put(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Writes `weights` into the model's own tensors; those that are named nowhere stay as they are."""
    for name, tensor in named_tensors(model):
        if name in weights:
            write(tensor, weights[name])


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape."""
    return {name: tuple(tensor.shape) for name, tensor in named_tensors(model)}


def not_finite(model: nn.Module) -> list[str]:
    """Names of the floating-point tensors that hold NaN or infinity."""
    real = ((name, t) for name, t in named_tensors(model) if t.is_floating_point())
    return [name for name, tensor in real if not bool(tensor.isfinite().all())]
