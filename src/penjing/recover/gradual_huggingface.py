"""Sparsification during training by the `Trainer` of `transformers`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penjing.compress.masks import Masks
from penjing.recover.driver import Driver
from penjing.recover.guard import optional

MASKS, REST = "masks.safetensors", "sparsifying.json"
"""In a checkpoint's directory: the state of the driver."""


def huggingface_callback(driver: Driver) -> Any:
    """A callback for `transformers.Trainer` that calls the driver's `step()` after every optimizer step.

    Where the driver has no optimizer, it is given the trainer's. Its state goes into the trainer's
    checkpoints, and `trainer.train(resume_from_checkpoint=True)` goes on from them.

    Args:
        driver: `Gradual`, `RigL`, `SET` or `Surgery`, of the model that is trained.

    Raises:
        PenjingError: PJ333, `transformers` is not installed.
    """
    transformers = optional("transformers", "huggingface_callback", "huggingface")

    class Sparsifying(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        """Hands steps on."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if driver.optimizer is None:
                driver.optimizer = given.get("optimizer")
            saved = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if state.global_step and (saved / REST).is_file():
                rest = json.loads((saved / REST).read_text(encoding="utf-8"))
                driver.load_state_dict({**rest, "masks": dict(Masks.load(saved / MASKS))})

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            driver.step()

        def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if state.is_world_process_zero and folder.is_dir():
                rest = driver.state_dict()
                Masks(rest.pop("masks")).save(folder / MASKS)
                (folder / REST).write_text(json.dumps(rest), encoding="utf-8")

    return Sparsifying()
