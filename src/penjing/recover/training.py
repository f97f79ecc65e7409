"""The epochs of one fine-tuning: trained, judged, written down, and taken back where they go wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from penjing import processes
from penjing.errors import PenjingError
from penjing.network.batch import Batch
from penjing.recover.average import Average
from penjing.recover.loader import given, seeded_epoch
from penjing.recover.metric import measured
from penjing.recover.mixing import spoiled
from penjing.recover.objective import Objective
from penjing.recover.optimizer import given_back, taken
from penjing.recover.progress import Progress
from penjing.recover.sharded import whole
from penjing.recover.step import Checkpoint, Epoch, Evaluate, Watch
from penjing.recover.weights import copied, put, shapes


@dataclass(eq=False)
class Training:
    """One training of one model.

    Attributes:
        model: trained in place.
        shown: what is judged, and holds the weights to keep in the end: `model`, or where that is spread over
            processes, what it is a copy of.
        objective: what is minimised.
        optimizer: of the parameters that are trained.
        factor: learning rate at a step, by the number of steps made before.
        train: gives its batches anew at each pass.
        batches: how many there are in a pass.
        epochs: passes.
        judge: by whom epochs are compared; None where the last one is kept.
        average: the moving average of the weights, where one is wanted; it is what is judged and kept.
        patience: epochs without a better metric after which training ends; None for no end before the last.
        clip: largest norm of a gradient; None for no bound.
        narrow: whether matrix products are in bfloat16.
        seed: from which, with the number of the epoch, all that is random follows.
        options: by which progress that was written down is known to belong to this training.
        watch: told of every step and epoch.
        checkpoint: where progress is kept.
    """

    model: nn.Module
    shown: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    factor: Callable[[int], float]
    train: Iterable[Any]
    batches: int
    epochs: int
    judge: Evaluate | None
    average: Average | None
    patience: int | None
    clip: float | None
    narrow: bool
    seed: int
    options: Mapping[str, Any]
    watch: Watch
    checkpoint: Checkpoint
    _start: float = field(default_factory=time.perf_counter)

    def run(self) -> Progress:
        """Trains on from wherever the progress written down is; leaves the model at the state to keep.

        The best state so far is put back also where an error ends the training.
        """
        progress = self._begun()
        try:
            with self.watch.track("fine-tune", self.batches * (self.epochs - progress.epoch)) as advance:
                while not progress.over:
                    progress = self._after(progress, advance)
        finally:
            put(self.shown, progress.best_weights)
        return progress

    def _begun(self) -> Progress:
        saved = processes.from_first(self.checkpoint.read())
        if saved is not None:
            progress = Progress.read(saved, self.options, shapes(self.model))
            self._go_back(progress)
            self._start -= progress.history[-1].seconds
            return progress
        with seeded_epoch(self.train, self.seed, 0):
            metric = self._metric()
        first = Epoch(epoch=0, loss=None, metric=metric, seconds=self._seconds())
        weights = copied(self.model)
        return Progress([first], 0, weights, weights, average=self.average.copy() if self.average else {})

    def _after(self, progress: Progress, advance: Callable[..., None]) -> Progress:
        """The progress after one more epoch; after none, where it failed."""
        number = progress.epoch + 1
        with seeded_epoch(self.train, self.seed, number):
            loss, steps = self._pass(progress, number, advance)
            if not math.isfinite(loss):
                return self._diverged(progress, number, loss)
            weights = copied(self.model)
            average = self.average.copy() if self.average else {}
            put(self.shown, average or weights)
            metric = self._metric()
            put(self.model, weights)
        epoch = Epoch(epoch=number, loss=loss, metric=metric, seconds=self._seconds())
        former = progress.history[progress.best].metric
        better = metric is None or former is None or metric > former
        tensors, plain = taken(self.optimizer)
        now = Progress(
            [*progress.history, epoch], number if better else progress.best,
            (average or weights) if better else progress.best_weights, weights, tensors, plain, steps,
            average, progress.rate, False, list(progress.notes),
        )  # fmt: skip
        self._judged(now)
        self._keep(now)
        self.watch.event("epoch", **epoch.model_dump())
        return now

    def _judged(self, now: Progress) -> None:
        """Ends a training that is done, or that has not become better for too long."""
        waited = now.epoch - now.best
        now.over = now.epoch == self.epochs
        if self.patience is not None and waited >= self.patience and not now.over:
            now.over = True
            now.notes.append(f"stopped after epoch {now.epoch}: `evaluate` gave nothing better for {waited}")
        if now.over and waited:
            now.notes.append(f"the weights kept are those after epoch {now.best}, the best by `evaluate`")

    def _pass(self, progress: Progress, number: int, advance: Callable[..., None]) -> tuple[float, int]:
        """Mean loss of one epoch, NaN or infinite if it stopped being a number; and the steps made."""
        self.model.train()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        total, count = 0.0, 0
        for place, one in enumerate(given(self.train, number)):
            batch = Batch.read(self.model, one, place, narrow=self.narrow)
            loss = self.objective(self.model, batch)
            value = float(loss.detach())
            if not math.isfinite(value):
                self._blame(batch, number, value)
                return value, progress.steps
            self.optimizer.zero_grad(set_to_none=True)
            self._differentiate(loss, trained)
            norm = whole(nn.utils.clip_grad_norm_(trained, self.clip or math.inf))
            if not bool(norm.isfinite()):
                return math.nan, progress.steps
            for group in self.optimizer.param_groups:
                group["lr"] = progress.rate * self.factor(progress.steps + count)
            self.optimizer.step()
            if self.average:
                self.average.update(self.model)
            total, count = total + value, count + 1
            advance(loss=total / count)
        self.optimizer.zero_grad(set_to_none=True)
        return total / count, progress.steps + count

    def _differentiate(self, loss: Tensor, trained: list[nn.Parameter]) -> None:
        """Gradients of the loss, summed over processes."""
        if self.model is not self.shown:  # they take the mean by themselves
            (loss * processes.world()).backward()
            return
        loss.backward()
        processes.sum_([p.grad for p in trained if p.grad is not None])

    def _blame(self, batch: Batch, epoch: int, loss: float) -> None:
        """An error where it is the data that are not finite: no learning rate mends them."""
        found = spoiled(batch.given)
        if found:
            raise PenjingError(
                "PJ319",
                f"batch {batch.number} of epoch {epoch} holds NaN: the loss is {loss}",
                because=found,
                tries=["mend the data, or leave the samples out"],
            )

    def _diverged(self, progress: Progress, epoch: int, loss: float) -> Progress:
        """Back to the end of the last sound epoch: once with half the rate, then for good.

        Raises:
            PenjingError: PJ314, no epoch was ever sound.
        """
        self._go_back(progress)
        if progress.rate == 1.0:
            progress.rate = 0.5
            progress.notes.append(
                f"the loss became {loss} in epoch {epoch}: back to the end of epoch {progress.epoch}, and on "
                "with half the learning rate"
            )
            self.watch.event("rollback", epoch=epoch, loss=str(loss), rate=progress.rate)
            return progress
        if progress.epoch == 0:
            raise PenjingError(
                "PJ314",
                f"the fine-tuning loss is {loss} in its first epoch, and again at half the learning rate",
                because="the learning rate is too high, or the weights or the loss give NaN",
                tries=[f"FineTune(lr={self.options['lr'] / 10:g})", "look for NaN in the training batches"],
            )
        progress.over = True
        progress.notes.append(
            f"the loss became {loss} in epoch {epoch} again: stopped, and the weights after epoch "
            f"{progress.best} kept"
        )
        self._keep(progress)
        return progress

    def _go_back(self, progress: Progress) -> None:
        put(self.model, progress.weights)
        self.optimizer.zero_grad(set_to_none=True)
        given_back(self.optimizer, progress.optimizer, progress.plain)
        if self.average:
            self.average.put(progress.average, progress.steps)

    def _metric(self) -> float | None:
        """By the first of several processes, for all of them."""
        if self.judge is None:
            return None
        return processes.from_first(measured(self.judge, self.shown) if processes.is_first() else 0.0)

    def _keep(self, progress: Progress) -> None:
        if processes.is_first():
            saved = progress.saved(self.options)
            self.checkpoint.write(saved.tensors, saved.record)

    def _seconds(self) -> float:
        return time.perf_counter() - self._start
