"""Sparsification during training by Lightning."""

from __future__ import annotations

from typing import Any

from penjing.recover.driver import Driver
from penjing.recover.guard import optional


def lightning_callback(driver: Driver) -> Any:
    """A callback for `lightning.Trainer` that calls the driver's `step()` after every step of the optimizer.

    Batches whose gradients are only accumulated do not count. Where the driver has no optimizer, it is
    given the trainer's. Its state goes into Lightning's checkpoints, and training goes on from them.

    Args:
        driver: `Gradual`, `RigL`, `SET` or `Surgery`, of the module that is trained or of one inside it.

    Raises:
        PenjingError: PJ333, Lightning is not installed.
    """
    lightning = optional("lightning.pytorch", "lightning_callback", "lightning")

    class Sparsifying(lightning.Callback):  # type: ignore[misc, name-defined]
        """Hands steps on."""

        def __init__(self) -> None:
            self._seen = 0

        @property
        def state_key(self) -> str:
            return f"penjing.{type(driver).__name__}"

        def on_train_start(self, trainer: Any, module: Any) -> None:
            self._seen = trainer.global_step
            if driver.optimizer is None and trainer.optimizers:
                driver.optimizer = trainer.optimizers[0]

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int
        ) -> None:
            if trainer.global_step > self._seen:
                self._seen = trainer.global_step
                driver.step()

        def state_dict(self) -> dict[str, Any]:
            return driver.state_dict()

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            driver.load_state_dict(state_dict)

    return Sparsifying()
