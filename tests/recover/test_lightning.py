from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.recover import Lightning, Situation, Watch
from tests.recover.models import accuracy, classifier, clusters
from tests.recover.test_resume import same

lightning = pytest.importorskip("lightning.pytorch")


class Lit(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self, model: nn.Module, original: nn.Module, lr: float = 0.1) -> None:
        super().__init__()
        self.model, self.lr = model, lr

    def training_step(self, batch: Any, place: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=self.lr)


OPTIONS = {"max_epochs": 3, "accelerator": "cpu"}


def test_lightning_trains_the_model_in_place() -> None:
    class Told(Watch):
        events: list[dict[str, Any]] = []  # noqa: RUF012 (one instance)

        def event(self, kind: str, /, **figures: Any) -> None:
            self.events.append({"kind": kind, **figures})

    model = classifier(1).eval()
    situation = Situation(classifier(), watch=Told())
    record = Lightning(Lit, clusters(), OPTIONS).apply(model, situation)
    assert accuracy(model) > 0.9
    assert not model.training
    assert record.options == {"module": "Lit", "max_epochs": 3, "accelerator": "cpu"}
    assert [epoch.epoch for epoch in record.history] == [1, 2, 3]
    assert record.history[-1].loss is not None
    assert record.history[0].loss is not None
    assert record.history[-1].loss < record.history[0].loss
    assert [event["epoch"] for event in situation.watch.events] == [1, 2, 3]  # type: ignore[attr-defined]


def test_lightning_trains_in_training_mode_whatever_mode_the_model_is_in() -> None:
    model = classifier(1).eval()
    before = model.norm.running_mean.clone()
    Lightning(Lit, clusters(), OPTIONS).apply(model, Situation(classifier()))
    assert not torch.equal(model.norm.running_mean, before)
    assert not model.training


def test_lightning_takes_a_model_that_is_a_lightning_module() -> None:
    model = Lit(classifier(1), classifier())
    Lightning(None, clusters(), OPTIONS).apply(model, Situation(classifier()))
    assert accuracy(model.model.eval()) > 0.9
    assert model._trainer is None


def test_lightning_is_repeatable_and_puts_frozen_parameters_back() -> None:
    def run() -> nn.Module:
        model = classifier(1)
        model.first.requires_grad_(False)
        Lightning(Lit, clusters(), OPTIONS).apply(model, Situation(classifier(), seed=2))
        return model

    model = run()
    assert same(model, run())
    assert torch.equal(model.first.weight, classifier(1).first.weight)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda model, original: model, "no LightningModule"),
        (lambda model, original: Lit(classifier(1), original), "another model"),
    ],
    ids=["kind", "copy"],
)
def test_lightning_refuses_a_module_that_is_none_or_of_another_model(make: Any, says: str) -> None:
    with pytest.raises(PenjingError, match="PJ331") as caught:
        Lightning(make, clusters(), OPTIONS).apply(classifier(1), Situation(classifier()))
    assert says in caught.value.what


def test_lightning_rolls_back_when_training_leaves_nan() -> None:
    model = classifier(1)
    with pytest.raises(PenjingError, match="PJ332"):
        Lightning(lambda *models: Lit(*models, lr=1e30), clusters(), OPTIONS).apply(
            model, Situation(classifier())
        )
    assert same(model, classifier(1))


def test_lightning_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(PenjingError, match="PJ333") as caught:
        Lightning(Lit, clusters(), OPTIONS).apply(classifier(1), Situation(classifier()))
    assert caught.value.tries == ('pip install "penjing[lightning]"',)
