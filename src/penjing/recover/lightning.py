"""Training by Lightning as a step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn
from torch.utils.data import DataLoader

from penjing.recover.guard import Make, checked_function, checked_made, guarded, optional
from penjing.recover.step import Epoch, RecoveryRecord, Situation, Step

_QUIET: Final = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@dataclass(frozen=True)
class Lightning(Step):
    """Lets Lightning train the cut model. Needs the package `lightning`: `pip install "penjing[lightning]"`.

    What holds for a `Loop` holds here too.

    Attributes:
        module: (model, original) -> a `LightningModule` that holds the cut model itself; None where the model
            is a `LightningModule`.
        train: a list of batches, a loader, or whatever else `Trainer.fit` takes.
        trainer: options of the `Trainer`, such as `{"max_epochs": 3}`. Unless said otherwise it draws no
            progress, and writes neither logs nor checkpoints.
        validate: loaders for validation.
    """

    module: Make | None
    train: Any
    trainer: Mapping[str, Any] = field(default_factory=dict)
    validate: Any = None

    def __post_init__(self) -> None:
        """Refuses what is no function.

        Raises:
            PenjingError: PJ313.
        """
        if self.module is not None:
            checked_function(self.module, "pj.Lightning")

    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Trains in place.

        Raises:
            PenjingError: PJ330, training fails; PJ331, the function gives no `LightningModule` that holds the
                model, or shapes change; PJ332, training leaves NaN; PJ333, Lightning is not installed.
        """
        lightning = optional("lightning.pytorch", "pj.Lightning", "lightning")
        start = time.perf_counter()
        history: list[Epoch] = []

        class Told(lightning.Callback):  # type: ignore[misc, name-defined]
            """Hands every epoch on."""

            def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
                figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
                loss = next((figures[name] for name in ("train_loss", "loss") if name in figures), None)
                seconds = time.perf_counter() - start
                epoch = Epoch(epoch=trainer.current_epoch + 1, loss=loss, metric=None, seconds=seconds)
                history.append(epoch)
                situation.watch.event("epoch", **{**figures, **epoch.model_dump()})

        with guarded(model, situation, "training by Lightning") as notes:
            module = self.module(model, situation.original) if self.module else model
            holds = isinstance(module, nn.Module) and any(each is model for each in module.modules())
            checked_made(module, lightning.LightningModule, holds, "pj.Lightning")
            own = list(self.trainer.get("callbacks") or [])
            options = {**_QUIET, **self.trainer, "callbacks": [*own, Told()]}
            model.train()  # Lightning leaves modes as it finds them
            with torch.enable_grad():
                lightning.Trainer(**options).fit(module, _loader(self.train), _loader(self.validate))
            module.trainer = None  # or a saved model would hold the trainer and its data
        plain = {name: v for name, v in self.trainer.items() if isinstance(v, bool | int | float | str)}
        return RecoveryRecord(
            method="lightning",
            options={"module": type(module).__name__, **plain},
            seconds=time.perf_counter() - start,
            history=tuple(history),
            notes=tuple(notes),
        )


def _loader(data: Any) -> Any:
    """Lightning takes a list for one of loaders; here it is one of batches."""
    dataset: Any = data
    return DataLoader(dataset, batch_size=None) if isinstance(data, list) else data
