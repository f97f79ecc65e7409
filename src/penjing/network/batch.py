"""A batch of the user's data: how the model is called with it, and the targets beside it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.source import where


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        call: how the model is called with it.
        targets: None where the batch brings none.
        given: the batch as the user's loader gave it.
        number: its place, from 0.
        narrow: whether a model runs on it in bfloat16 where that is safe (autocast); outputs are float32.
    """

    call: Call
    targets: Any
    given: Any
    number: int
    narrow: bool = False

    @classmethod
    def read(cls, model: nn.Module, given: Any, number: int = 0, *, narrow: bool = False) -> Batch:
        """Splits `inputs` from `(inputs, targets)`.

        Two entries are inputs and targets, unless the first alone does not satisfy `forward` and both do: a
        model of two inputs.

        Raises:
            PenjingError: PJ310, neither reading fits the signature of the model's `forward`.
        """
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        given = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), given)
        readings = [(given, None)]
        if isinstance(given, list | tuple) and len(given) == 2:
            readings.insert(0, (given[0], given[1]))
        refusal: PenjingError | None = None
        for inputs, targets in readings:
            try:
                return cls(Call.of(model, inputs), targets, given, number, narrow)
            except PenjingError as error:
                refusal = refusal or error
        assert refusal is not None
        raise PenjingError(
            "PJ310",
            f"batch {number} does not fit `{type(model).__name__}`",
            because=refusal.because or f"forward takes {inspect.signature(model.forward)}",
            tries=["let a batch be inputs or (inputs, targets); inputs a tensor, a tuple or a dict"],
        )

    def run(self, model: nn.Module) -> Any:
        """The outputs of `model` on this batch.

        Raises:
            PenjingError: PJ310, the model's own code fails on it.
        """
        device = next((parameter.device.type for parameter in model.parameters()), "cpu")
        try:
            with torch.autocast(device, torch.bfloat16, enabled=self.narrow):
                return pytree.tree_map_only(torch.Tensor, _widened, self.call.run(model))
        except Exception as error:  # the model is the user's: whatever it raises is answered in one form
            raise PenjingError(
                "PJ310",
                f"`{type(model).__name__}` does not run on batch {self.number}",
                because=f"{type(error).__name__}: {error}",
                path=where(error),
                tries=["check the shapes and types of this batch against the example inputs"],
            ) from error


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


@contextmanager
def kept_modes(*models: nn.Module) -> Iterator[None]:
    """Training flags of every module are put back afterwards."""
    flags = [(module, module.training) for model in models for module in model.modules()]
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
