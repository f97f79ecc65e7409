"""What the zoo says of one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Inputs = tuple[Tensor, ...] | dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: unique in the zoo.
        build: makes the module, seeded: two calls give equal parameters.
        inputs: makes the example inputs, seeded: a tuple is positional, a dict by keyword.
        refused: `torch.export` cannot export it (the graph must then be recorded from one execution).
        onnx: `torch.onnx.export(dynamo=True)` exports the uncut model.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    refused: bool = False
    onnx: bool = True

    def __str__(self) -> str:
        return self.name
