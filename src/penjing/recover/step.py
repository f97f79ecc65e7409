"""What every recovery step is given and gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan import Plan

Loss = Callable[[Any, Any], Tensor]
"""(outputs, batch) -> scalar."""

Evaluate = Callable[[nn.Module], float]
"""model -> figure of merit; higher is better."""


class Watch:
    """Told how far a job is; this one tells nobody. A subclass may draw, write or send it."""

    def track(self, what: str, total: int | None = None) -> AbstractContextManager[Callable[..., None]]:
        """A stretch of work of `total` equal parts; call what it yields after each, with figures to show."""
        return nullcontext(lambda **figures: None)

    def event(self, kind: str, /, **figures: Any) -> None:
        """Something that a log should keep."""

    def close(self) -> None:
        """The job is over, well or not: nothing more will be told of it."""


class Epoch(BaseModel):
    """One pass over the training data.

    Attributes:
        epoch: from 1; 0 is the state before training.
        loss: mean over its batches; None for epoch 0.
        metric: by `evaluate` after the epoch, where there is one and it was asked.
        seconds: since the step began.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    loss: float | None
    metric: float | None
    seconds: float


class RecoveryRecord(BaseModel):
    """What one recovery step did, for the report.

    Attributes:
        method: the step's name.
        options: as given, defaults filled in.
        seconds: wall time.
        history: epoch by epoch, where it trains.
        notes: whatever the user should know.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    options: dict[str, Any]
    seconds: float
    history: tuple[Epoch, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Saved:
    """What a step wrote down of its progress.

    Attributes:
        tensors: by name; bit for bit as they were written.
        record: plain JSON values.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


class Checkpoint:
    """Where a step writes down how far it is, so that it can go on from there; this one keeps nothing."""

    def read(self) -> Saved | None:
        """What was written last; None where there is nothing to go on from."""
        return None

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Replaces what was written before, whole or not at all."""


@dataclass(frozen=True)
class Situation:
    """What a recovery step may lean on.

    Attributes:
        original: the model before the cut; steps do not change it.
        calibration: batches, `inputs` or `(inputs, targets)`.
        loss: the user's own.
        evaluate: the user's own.
        seed: for steps that bring none.
        watch: told how far the step is.
        net: the original, traced; None where nobody did.
        plan: what was cut from it; None where nobody knows.
        checkpoint: where the step's progress is kept.
    """

    original: nn.Module
    calibration: Iterable[Any] | None = None
    loss: Loss | None = None
    evaluate: Evaluate | None = None
    seed: int = 0
    watch: Watch = field(default_factory=Watch)
    net: Network | None = None
    plan: Plan | None = None
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    def cut(self) -> tuple[Network, Plan]:
        """What was cut, and how.

        Raises:
            PenjingError: PJ321, nobody told.
        """
        if self.net is None or self.plan is None:
            raise PenjingError(
                "PJ321",
                "this step of recovery is not told what was cut",
                tries=["pj.prune(..., recover=...)", "Situation(..., net=net, plan=plan)"],
            )
        return self.net, self.plan


class Step(ABC):
    """A way of getting accuracy back.

    Attributes:
        alone: whether the first of several processes does it by itself. Else all do it together, from the
            same weights; those of the first one are then taken.
    """

    alone: ClassVar[bool] = False

    @abstractmethod
    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Changes the weights or statistics of `model` in place; modes and shapes stay."""
