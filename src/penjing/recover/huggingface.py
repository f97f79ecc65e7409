"""Training by the `Trainer` of `transformers` as a step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from penjing.recover.guard import Make, checked_function, checked_made, guarded, optional
from penjing.recover.step import Epoch, RecoveryRecord, Situation, Step


@dataclass(frozen=True)
class HuggingFace(Step):
    """Lets a `transformers.Trainer` train the cut model.

    Needs the packages `transformers` and `accelerate`: `pip install "penjing[huggingface]"`. What holds for a
    `Loop` holds here too; the seed of the training is that of the trainer's own arguments.

    Attributes:
        trainer: (model, original) -> a `transformers.Trainer` of the cut model itself, or one of a class that
            is derived from it, such as one that distils from the original.
    """

    trainer: Make

    def __post_init__(self) -> None:
        """Refuses what is no function.

        Raises:
            PenjingError: PJ313.
        """
        checked_function(self.trainer, "pj.HuggingFace")

    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Trains in place.

        Raises:
            PenjingError: PJ330, training fails; PJ331, the function gives no `Trainer` of the model, or
                shapes change; PJ332, training leaves NaN; PJ333, a package is not installed.
        """
        optional("accelerate", "pj.HuggingFace", "huggingface")
        transformers = optional("transformers", "pj.HuggingFace", "huggingface")
        start = time.perf_counter()
        with guarded(model, situation, "training by transformers") as notes:
            trainer = self.trainer(model, situation.original)
            checked_made(
                trainer, transformers.Trainer, getattr(trainer, "model", None) is model, "pj.HuggingFace"
            )
            own = vars(model).get("forward")
            try:
                trainer.train()
            finally:  # mixed precision puts a `forward` of its own before that of the class
                vars(model).pop("forward", None)
                if own is not None:
                    vars(model)["forward"] = own
        history = _history(trainer.state.log_history, time.perf_counter() - start)
        for epoch in history:
            situation.watch.event("epoch", **epoch.model_dump())
        args = trainer.args
        return RecoveryRecord(
            method="hugging_face",
            options={
                "trainer": type(trainer).__name__,
                "epochs": float(args.num_train_epochs),
                "lr": float(args.learning_rate),
                "seed": int(args.seed),
            },
            seconds=time.perf_counter() - start,
            history=tuple(history),
            notes=tuple(notes),
        )


def _history(logged: Sequence[Mapping[str, Any]], seconds: float) -> list[Epoch]:
    """The last loss that was logged within each epoch."""
    losses = {max(1, round(entry["epoch"])): entry["loss"] for entry in logged if "loss" in entry}
    return [
        Epoch(epoch=number, loss=float(loss), metric=None, seconds=seconds)
        for number, loss in sorted(losses.items())
    ]
