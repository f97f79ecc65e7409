"""Data that fail while a model is being trained on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from penjing.errors import PenjingError
from penjing.recover import FineTune, Situation
from tests.recover.models import Data, classifier, clusters
from tests.recover.test_resume import Memory, same


class Dying:
    """A loader of four batches that raises at one of them in its n-th pass."""

    def __init__(self, data: Data, passes: int, batch: int) -> None:
        self.data, self.passes, self.batch = data, passes, batch

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Any:
        self.passes -= 1
        for place, batch in enumerate(self.data):
            if self.passes == 0 and place == self.batch:
                raise OSError("the disk is gone")
            yield batch


def test_training_names_epoch_and_batch_when_the_loader_dies() -> None:
    model, memory = classifier(1), Memory()
    train = Dying(clusters(4), passes=3, batch=2)
    with pytest.raises(PenjingError, match="batch 2 of epoch 3") as caught:
        FineTune(epochs=4, train=train).apply(model, Situation(classifier(), checkpoint=memory))
    assert caught.value.code == "PJ316"
    assert caught.value.because == "OSError: the disk is gone"
    assert "test_bad_data.py" in caught.value.path
    assert memory.count == 2
    two, _ = classifier(1), None
    with pytest.raises(PenjingError):
        FineTune(epochs=4, train=Dying(clusters(4), 3, 0)).apply(two, Situation(classifier()))
    assert same(model, two), "the weights are those after epoch 2, whatever came of epoch 3"
    assert model.training


def test_training_goes_on_after_a_loader_was_mended() -> None:
    whole, model, memory = classifier(1), classifier(1), Memory()
    FineTune(epochs=4, train=clusters(4)).apply(whole, Situation(classifier()))
    with pytest.raises(PenjingError):
        FineTune(epochs=4, train=Dying(clusters(4), 3, 1)).apply(
            model, Situation(classifier(), checkpoint=memory)
        )
    again = classifier(1)
    FineTune(epochs=4, train=clusters(4)).apply(again, Situation(classifier(), checkpoint=memory))
    assert same(whole, again)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_training_names_the_batch_and_sample_that_hold_nan(value: float) -> None:
    data = clusters(4)
    data[2][0][7, 3] = value
    model = classifier(1)
    with pytest.raises(PenjingError, match="batch 2 of epoch 1") as caught:
        FineTune(epochs=2, train=data).apply(model, Situation(classifier()))
    assert caught.value.code == "PJ319"
    assert "samples 7" in caught.value.because
    assert same(model, classifier(1))


def test_training_names_the_batch_when_targets_hold_nan() -> None:
    data = [(x, x[:, :3].clone()) for x, _ in clusters(3)]
    data[1][1][4, 1] = float("nan")
    step = FineTune(epochs=1, train=data, loss=lambda y, batch: nn.functional.mse_loss(y, batch[1]))
    with pytest.raises(PenjingError, match="batch 1 of epoch 1"):
        step.apply(classifier(1), Situation(classifier()))


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (torch.randn(8, 5), "does not run on batch 1"),
        (torch.zeros(8, 6, dtype=torch.int64), "does not run on batch 1"),
        ("text", "does not run on batch 1"),
        ({"image": torch.randn(8, 6)}, "does not run on batch 1"),
        ((torch.randn(8, 6), torch.zeros(8), torch.zeros(8)), "batch 1 does not fit"),
        ((torch.randn(1, 6), torch.zeros(1, dtype=torch.int64)), "more than 1 value per channel"),
    ],
    ids=["width", "integers", "text", "name", "three", "one sample"],
)
def test_training_names_a_batch_of_the_wrong_shape_or_type(batch: Any, says: str) -> None:
    model = classifier(1)
    with pytest.raises(PenjingError, match="PJ310") as caught:
        FineTune(epochs=1, train=[clusters(1)[0], batch]).apply(model, Situation(classifier()))
    assert says in str(caught.value)
    assert same(model, classifier(1))


@pytest.mark.parametrize(
    "batch",
    [torch.zeros(8, 6, dtype=torch.int64), (torch.randn(8, 6), torch.zeros(7))],
    ids=["integers", "two sizes"],
)
def test_mixup_refuses_what_cannot_be_mixed(batch: Any) -> None:
    with pytest.raises(PenjingError, match="batch 0 cannot be mixed") as caught:
        FineTune(epochs=1, train=[batch], mixup=0.2, loss="teacher").apply(
            classifier(), Situation(classifier())
        )
    assert caught.value.code == "PJ313"


def test_training_refuses_a_stream_that_runs_dry() -> None:
    class Stream:
        passes = 0

        def __iter__(self) -> Any:
            self.passes += 1
            return iter(clusters(2) if self.passes < 3 else [])  # the first is to count

    with pytest.raises(PenjingError, match="no batches in epoch 2"):
        FineTune(epochs=3, train=Stream()).apply(classifier(), Situation(classifier()))


def test_training_refuses_a_teacher_with_other_outputs() -> None:
    with pytest.raises(PenjingError, match="PJ312"):
        FineTune(epochs=1, train=clusters(2)).apply(classifier(), Situation(nn.Linear(6, 5)))


def test_training_names_the_batch_on_which_the_users_loss_fails() -> None:
    def loss(outputs: Any, batch: Any) -> Any:
        return nn.functional.cross_entropy(outputs, batch["labels"])

    for step, situation in (
        (FineTune(epochs=1, train=clusters(2), loss=loss), Situation(classifier())),
        (FineTune(epochs=1, train=clusters(2)), Situation(classifier(), loss=loss)),
    ):
        with pytest.raises(PenjingError, match="the loss fails on batch 0") as caught:
            step.apply(classifier(1), situation)
        assert caught.value.code == "PJ307"
        assert "test_bad_data.py" in caught.value.path


def test_training_names_the_batch_at_which_a_stream_dies_while_it_is_counted() -> None:
    class Stream:
        def __iter__(self) -> Any:
            yield clusters(1)[0]
            raise OSError("the disk is gone")

    with pytest.raises(PenjingError, match="PJ316"):
        FineTune(epochs=1, train=Stream()).apply(classifier(1), Situation(classifier()))
