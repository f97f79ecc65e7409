"""What a job is about: a model, how it is called, and the data there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import nn

from penjing.recover import Evaluate, Loss


@dataclass(frozen=True, eq=False)
class Task:
    """A model with what belongs to it; what `file.py:task` returns on the command line.

    Attributes:
        model: a trained PyTorch module.
        example_inputs: a tensor, a tuple or a dict, as the model is called.
        train: batches for fine-tuning, anew at every pass.
        calibration: batches for criteria and re-estimation; None for the first of `train`.
        loss: (outputs, batch) -> scalar.
        evaluate: model -> figure of merit, higher for better.
    """

    model: nn.Module
    example_inputs: Any
    train: Iterable[Any] | None = None
    calibration: Iterable[Any] | None = None
    loss: Loss | None = None
    evaluate: Evaluate | None = None

    def calibration_batches(self, most: int = 32) -> Iterable[Any] | None:
        """`calibration`, or else the first `most` batches of `train`; None where there is neither."""
        if self.calibration is not None:
            return self.calibration
        if self.train is None or isinstance(self.train, Iterator):
            return None
        return list(islice(self.train, most))
