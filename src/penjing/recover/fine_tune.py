"""Fine-tuning: AdamW on a cosine schedule, against labels, the original, or both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network.batch import Batch, kept_modes
from penjing.recover.losses import Goal, Objective, objective
from penjing.recover.metric import measured
from penjing.recover.seeding import seeded
from penjing.recover.step import Epoch, Loss, RecoveryRecord, Situation, Step

State = dict[str, Tensor]


@dataclass(frozen=True)
class FineTune(Step):
    """Trains the cut model.

    AdamW without decay of scales and biases; the learning rate rises over the first twentieth of the steps
    and then follows a cosine down to zero. Only parameters that ask for gradients are trained. The same
    seed gives the same weights on one machine.

    Attributes:
        epochs: passes over `train`, at least 1.
        train: gives its batches anew at each pass: a list or a `DataLoader`, not a generator.
        lr: highest learning rate.
        loss: "label" (the job's `loss`, else cross-entropy), "teacher" (the original's outputs, no labels
            needed), "label+teacher", or a function (outputs, batch) -> scalar.
        weight_decay: of matrices and kernels.
        temperature: of class scores compared with the teacher's.
        teacher_share: of the teacher's loss in "label+teacher".
        clip: largest norm of a step's gradient; None for no bound.
        keep: "best" evaluates after every epoch and keeps the best state, the one before training included;
            "last" evaluates nothing. Without `evaluate` it is always the last.
        precision: "float32", or "bfloat16" for matrix products and convolutions (autocast): up to three times
            as quick on processors that have it. Weights are float32 in any case.
        seed: of shuffling, augmentation and dropout; None for the job's.
    """

    epochs: int
    train: Iterable[Any]
    lr: float = 1e-3
    loss: Goal | Loss = "label+teacher"
    weight_decay: float = 0.01
    temperature: float = 2.0
    teacher_share: float = 0.5
    clip: float | None = 1.0
    keep: Literal["best", "last"] = "best"
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be meant.

        Raises:
            PenjingError: PJ313, an option out of range.
        """
        ranges = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "temperature": (0 < self.temperature < math.inf, "above 0"),
            "teacher_share": (0 <= self.teacher_share <= 1, "from 0 to 1"),
            "clip": (self.clip is None or 0 < self.clip < math.inf, "above 0, or None"),
            "precision": (self.precision in ("float32", "bfloat16"), '"float32" or "bfloat16"'),
            "keep": (self.keep in ("best", "last"), '"best" or "last"'),
            "loss": (
                callable(self.loss) or self.loss in ("label", "teacher", "label+teacher"),
                '"label", "teacher", "label+teacher" or a function (outputs, batch) -> scalar',
            ),
        }
        for name, (sound, asked) in ranges.items():
            if not sound:
                raise PenjingError("PJ313", f"FineTune({name}={getattr(self, name)!r}): {name} is {asked}")
        if isinstance(self.train, Iterator):
            raise PenjingError(
                "PJ313",
                "FineTune(train=...) is used up after one pass",
                because=f"`{type(self.train).__name__}` is an iterator",
                tries=["give a list or a DataLoader, which begin anew at every epoch"],
            )

    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Trains in place.

        Where the loss turns NaN or infinite on the way, training stops, the best state so far is put back,
        and a note says so.

        Raises:
            PenjingError: PJ310, a batch does not fit; PJ311, there are none; PJ312, no loss is known for
                them; PJ314, the loss is not finite from the beginning, or no parameter asks for gradients;
                PJ315, `evaluate` fails.
        """
        teacher = situation.original
        target = objective(
            self.loss, situation.loss, teacher, temperature=self.temperature, share=self.teacher_share
        )
        with kept_modes(model, teacher), seeded(situation.seed if self.seed is None else self.seed):
            teacher.eval()
            history, notes = _Training(self, model, target, situation).run()
        options: dict[str, Any] = {
            "epochs": self.epochs, "lr": self.lr, "weight_decay": self.weight_decay, "keep": self.keep,
            "loss": self.loss if isinstance(self.loss, str) else "own", "temperature": self.temperature,
            "teacher_share": self.teacher_share, "clip": self.clip, "precision": self.precision,
            "seed": situation.seed if self.seed is None else self.seed,
        }  # fmt: skip
        return RecoveryRecord(
            method="fine_tune",
            options=options,
            seconds=history[-1].seconds,
            history=tuple(history),
            notes=tuple(notes),
        )


class _Training:
    """One run of a `FineTune`."""

    def __init__(self, step: FineTune, model: nn.Module, target: Objective, situation: Situation) -> None:
        self._step, self._model, self._target, self._situation = step, model, target, situation
        self._steps = _length(step.train) * step.epochs
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not trained:
            raise PenjingError(
                "PJ314",
                "there is nothing to train",
                because="no parameter of the model asks for gradients",
                tries=["model.requires_grad_(True) before the cut"],
            )
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": step.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._trained = trained
        self._optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=step.lr)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, warm_cosine(self._steps))
        self._judge = situation.evaluate if step.keep == "best" else None
        self._start = time.perf_counter()

    def run(self) -> tuple[list[Epoch], list[str]]:
        """Trains, and leaves the model at the state to keep."""
        metric = measured(self._judge, self._model) if self._judge else None
        history = [Epoch(epoch=0, loss=None, metric=metric, seconds=time.perf_counter() - self._start)]
        best, best_state = history[0], _copy(self._model)
        notes: list[str] = []
        with self._situation.watch.track("fine-tune", self._steps) as advance:
            for number in range(1, self._step.epochs + 1):
                loss = self._pass(advance)
                if not math.isfinite(loss):
                    notes.append(self._diverged(number, best, loss))
                    break
                metric = measured(self._judge, self._model) if self._judge else None
                seconds = time.perf_counter() - self._start
                history.append(Epoch(epoch=number, loss=loss, metric=metric, seconds=seconds))
                self._situation.watch.event("epoch", **history[-1].model_dump())
                if metric is None or best.metric is None or metric > best.metric:
                    best, best_state = history[-1], _copy(self._model)
        self._model.load_state_dict(best_state)
        if best.epoch != self._step.epochs and not notes:
            notes.append(f"the weights kept are those after epoch {best.epoch}, the best by `evaluate`")
        return history, notes

    def _pass(self, advance: Callable[..., None]) -> float:
        """Mean loss of one epoch; NaN or infinite if it stopped being a number."""
        self._model.train()
        total, count = 0.0, 0
        for number, given in enumerate(self._step.train):
            batch = Batch.read(self._model, given, number, narrow=self._step.precision == "bfloat16")
            loss = self._target(batch.run(self._model), batch)
            value = float(loss.detach())
            if not math.isfinite(value):
                return value
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self._trained, self._step.clip or math.inf)
            if not bool(norm.isfinite()):
                return math.nan
            self._optimizer.step()
            self._schedule.step()
            total, count = total + value, count + 1
            advance(loss=total / count)
        return total / count

    def _diverged(self, epoch: int, best: Epoch, loss: float) -> str:
        """What to tell of a training that went wrong; an error where it did so before any epoch was over."""
        if best.epoch == 0:
            raise PenjingError(
                "PJ314",
                f"the fine-tuning loss is {loss} in its first epoch",
                because=f"lr={self._step.lr} is too high, or the training data or the loss hold NaN",
                tries=[f"FineTune(lr={self._step.lr / 10:g})", "look for NaN in the training batches"],
            )
        return (
            f"the loss became {loss} in epoch {epoch}: stopped, and the weights after epoch {best.epoch} kept"
        )


def warm_cosine(steps: int) -> Callable[[int], float]:
    """Factor of the learning rate at each step: up over the first twentieth, then half a cosine to zero."""
    warm = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

    return factor


def _length(train: Iterable[Any]) -> int:
    """How many batches a pass has; counted once where the data cannot say.

    Raises:
        PenjingError: PJ311, none.
    """
    try:
        count = len(train) if isinstance(train, Sized) else sum(1 for _ in train)
    except TypeError:  # a DataLoader over an IterableDataset is Sized, and has no length
        count = sum(1 for _ in train)
    if not count:
        raise PenjingError("PJ311", "there is nothing to train on: `train` gives no batches")
    return count


def _copy(model: nn.Module) -> State:
    return deepcopy(model.state_dict())
