"""A batch of calibration data: what the model is called with, and the targets beside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network import Call


def placed(model: nn.Module, batch: Any) -> Any:
    """The same batch on the device of the model's parameters."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), batch)


def call_of(model: nn.Module, batch: Any, number: int) -> Call:
    """How `model` is called with a batch.

    Two entries are inputs and targets, unless `forward` cannot be called with the first alone and can with
    both: a model of two inputs.

    Args:
        model: the model.
        batch: `inputs` or `(inputs, targets)`; inputs a tensor, a tuple or a dict.
        number: its place in the data, for the error.

    Raises:
        PenjingError: PJ310, neither reading fits the signature of `forward`.
    """
    paired = isinstance(batch, list | tuple) and len(batch) == 2
    refusal: PenjingError | None = None
    for inputs in (batch[0], batch) if paired else (batch,):
        try:
            return Call.of(model, inputs)
        except PenjingError as error:
            refusal = refusal or error
    assert refusal is not None
    raise PenjingError(
        "PJ310",
        f"batch {number} does not fit `{type(model).__name__}`",
        because=refusal.because,
        tries=["let a batch be inputs or (inputs, targets); inputs a tensor, a tuple or a dict"],
    ) from refusal
