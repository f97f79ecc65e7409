"""Sparsification by callbacks, in the real trainers."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from penjing.compress.masks import SET, Cubic, Gradual, Masks, RigL, Surgery, masks_of
from penjing.errors import PenjingError
from penjing.recover import huggingface_callback, lightning_callback

lightning = pytest.importorskip("lightning.pytorch")
transformers = pytest.importorskip("transformers")

DRIVERS: dict[str, Callable[[nn.Module], Any]] = {
    "gradual": lambda model: Gradual(model, Cubic(0.7, begin=1, end=6)),
    "rigl": lambda model: RigL(model, 0.7, every=2, end=6),
    "set": lambda model: SET(model, 0.7, every=2),
    "surgery": lambda model: Surgery(model, c=0.3),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def holds(model: nn.Module, masks: Masks) -> bool:
    """Zeros are where masks have them; weights that have just grown are zero, too."""
    found = masks_of(model)
    return all(not bool((found[name] & ~mask).any()) for name, mask in masks.items() if not bool(mask.all()))


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def training_step(self, batch: Any, number: int) -> Tensor:
        return F.cross_entropy(self.inner(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.05, weight_decay=0.1)


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 8, generator=generator)
    return [(one, one[:4].argmax()) for one in x]


def by_lightning(
    module: nn.Module, driver: Any, folder: Path, *, resume: Path | None = None, **options: Any
) -> Any:
    trainer = lightning.Trainer(
        default_root_dir=folder, callbacks=[lightning_callback(driver)], logger=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        **{"enable_checkpointing": False, "max_epochs": 2, **options},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning: few workers, few batches
        trainer.fit(module.train(), DataLoader(data(), batch_size=4), ckpt_path=resume)  # type: ignore[arg-type]
    return trainer


@pytest.mark.parametrize("name", DRIVERS)
def test_lightning_trains_with_zeros(name: str, tmp_path: Path) -> None:
    module = Module()
    driver = DRIVERS[name](module)
    by_lightning(module, driver, tmp_path)
    assert driver.steps == 16
    assert driver.optimizer is not None
    assert holds(module, driver.masks)
    if name != "surgery":
        assert driver.masks.sparsity == pytest.approx(0.7, abs=0.01)
        weight = module.inner[0].weight
        assert bool((driver.optimizer.state[weight]["exp_avg"][weight == 0] == 0).all())


def test_lightning_counts_steps_of_the_optimizer_not_batches(tmp_path: Path) -> None:
    module = Module()
    driver = DRIVERS["gradual"](module)
    by_lightning(module, driver, tmp_path, accumulate_grad_batches=4)
    assert driver.steps == 4


def test_lightning_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    module, other = Module(), Module()
    driver, second = DRIVERS["rigl"](module), DRIVERS["rigl"](other)
    by_lightning(module, driver, tmp_path, max_epochs=1).save_checkpoint(tmp_path / "one.ckpt")
    assert driver.steps == 8
    by_lightning(other, second, tmp_path, resume=tmp_path / "one.ckpt")
    third = Module()
    whole = DRIVERS["rigl"](third)
    by_lightning(third, whole, tmp_path)
    assert whole.steps == second.steps == 16
    assert whole.masks == second.masks
    assert all(torch.equal(a, b) for a, b in zip(third.parameters(), other.parameters(), strict=True))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        y = self.inner(x)
        return {"loss": F.cross_entropy(y, labels), "logits": y}


def by_huggingface(
    model: nn.Module, driver: Any, folder: Path, *, resume: bool = False, **options: Any
) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), report_to="none", use_cpu=True, per_device_train_batch_size=4,
        learning_rate=0.05,
        weight_decay=0.1, disable_tqdm=True, dataloader_pin_memory=False,
        **{"save_strategy": "no", "num_train_epochs": 2, **options},
    )  # fmt: skip
    rows = [{"x": x, "labels": label} for x, label in data()]
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, callbacks=[huggingface_callback(driver)]
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("name", DRIVERS)
def test_transformers_trains_with_zeros(name: str, tmp_path: Path) -> None:
    model = Model()
    driver = DRIVERS[name](model)
    by_huggingface(model, driver, tmp_path)
    assert driver.steps == 16
    assert driver.optimizer is not None
    assert holds(model, driver.masks)
    if name != "surgery":
        assert driver.masks.sparsity == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("name", ["gradual", "surgery"])
def test_transformers_goes_on_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    model, other = Model(), Model()
    driver, second = DRIVERS[name](model), DRIVERS[name](other)
    steps = {"max_steps": 7, "save_strategy": "steps", "save_steps": 4}
    by_huggingface(model, driver, tmp_path, **steps)
    shutil.rmtree(tmp_path / "checkpoint-7")
    by_huggingface(other, second, tmp_path, **steps, resume=True)
    assert driver.steps == second.steps == 7
    assert second.masks == driver.masks
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_callback_says_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make in (("lightning.pytorch", lightning_callback), ("transformers", huggingface_callback)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(PenjingError) as caught:
            make(Gradual(network(), Cubic(0.5, 0, 1)))
        assert caught.value.code == "PJ333"
