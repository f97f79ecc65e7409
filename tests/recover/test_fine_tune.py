from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from penjing.errors import PenjingError
from penjing.recover import FineTune, RecoveryRecord, Situation, Watch
from penjing.recover.optimizer import scheduled
from tests.recover.models import Classifier, accuracy, classifier, clusters


def tuned(seed: int = 0, **options: Any) -> tuple[Classifier, RecoveryRecord]:
    model = classifier(1)
    options = {"epochs": 3, "train": clusters(), "lr": 1e-2, **options}
    evaluate = options.pop("evaluate", None)
    situation = Situation(classifier(0), evaluate=evaluate, seed=seed)
    return model, FineTune(**options).apply(model, situation)


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_fine_tune_learns_the_labels() -> None:
    model, record = tuned(loss="label", epochs=5)
    assert accuracy(classifier(1).eval()) < 0.6
    assert accuracy(model.eval()) > 0.9
    losses = [epoch.loss for epoch in record.history[1:]]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("labelled", [True, False])
def test_fine_tune_approaches_the_teacher_without_its_own_labels(labelled: bool) -> None:
    teacher = classifier(0).eval()
    train = clusters() if labelled else [x for x, _ in clusters()]
    model, _ = tuned(loss="teacher", train=train, epochs=8)
    x = clusters(1, 256, seed=5)[0][0]

    def agreement(other: nn.Module) -> float:
        return float((other.eval()(x).argmax(1) == teacher(x).argmax(1)).float().mean())

    assert agreement(model) > 0.9 > agreement(classifier(1))


def test_fine_tune_in_bfloat16_learns_and_leaves_float32_weights() -> None:
    model, record = tuned(loss="label", epochs=5, precision="bfloat16")
    assert accuracy(model.eval()) > 0.9
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert record.options["precision"] == "bfloat16"
    assert not states_equal(model, tuned(loss="label", epochs=5)[0])


def test_fine_tune_keeps_the_best_state_by_evaluate() -> None:
    figures = iter([0.1, 0.5, 0.9, 0.3])
    states: list[dict[str, Tensor]] = []

    def evaluate(model: nn.Module) -> float:
        states.append(deepcopy(model.state_dict()))
        return next(figures)

    model, record = tuned(evaluate=evaluate)
    assert all(torch.equal(value, states[2][name]) for name, value in model.state_dict().items())
    assert [epoch.metric for epoch in record.history] == [0.1, 0.5, 0.9, 0.3]
    assert "epoch 2" in record.notes[0]


def test_fine_tune_keeps_the_untrained_state_when_training_only_harms() -> None:
    figures = iter([0.9, 0.5, 0.5, 0.5])
    model, record = tuned(evaluate=lambda _: next(figures))
    assert states_equal(model, classifier(1))
    assert "epoch 0" in record.notes[0]


def test_fine_tune_never_evaluates_when_told_to_keep_the_last() -> None:
    def evaluate(model: nn.Module) -> float:
        raise AssertionError("not asked")

    model, record = tuned(evaluate=evaluate, keep="last")
    assert not states_equal(model, classifier(1))
    assert not record.notes


def test_fine_tune_is_repeatable_with_a_shuffling_loader_and_dropout() -> None:
    def run(seed: int, noise: int) -> Classifier:
        torch.manual_seed(noise)
        inputs, targets = (torch.cat(part) for part in zip(*clusters(), strict=True))
        train = DataLoader(TensorDataset(inputs, targets), batch_size=32, shuffle=True)
        return tuned(seed, train=train)[0]

    assert states_equal(run(3, noise=1), run(3, noise=2))
    assert not states_equal(run(3, noise=1), run(4, noise=1))


def test_fine_tune_leaves_the_random_state_of_the_caller() -> None:
    model, teacher = classifier(1), classifier(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    FineTune(epochs=1, train=clusters()).apply(model, Situation(teacher))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_fine_tune_leaves_modes_and_the_teacher_alone() -> None:
    model, teacher = classifier(1), classifier(0)
    model.train()
    model.drop.eval()
    before = deepcopy(teacher.state_dict())
    FineTune(epochs=1, train=clusters()).apply(model, Situation(teacher))
    assert [m.training for m in model.modules()] == [True, True, True, False, True]
    assert all(m.training for m in teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_fine_tune_leaves_what_asks_for_no_gradient() -> None:
    model = classifier(1)
    model.first.requires_grad_(False)
    FineTune(epochs=1, train=clusters()).apply(model, Situation(classifier(0)))
    assert torch.equal(model.first.weight, classifier(1).first.weight)
    assert not torch.equal(model.last.weight, classifier(1).last.weight)


def nan_from(call: int) -> Any:
    calls = iter(range(10**6))

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        value = nn.functional.cross_entropy(outputs, batch[1])
        return value * float("nan") if next(calls) >= call else value

    return loss


def test_fine_tune_rolls_back_and_says_so_when_the_loss_becomes_nan() -> None:
    sound, _ = tuned(loss="label", epochs=3)
    model, record = tuned(loss=nan_from(30))
    assert "nan in epoch 3: back to the end of epoch 2" in record.notes[0]
    assert "after epoch 2 kept" in record.notes[1]
    assert len(record.history) == 3
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    assert not states_equal(model, sound)
    assert accuracy(model.eval()) > 0.6


def test_fine_tune_refuses_when_the_loss_is_nan_from_the_beginning() -> None:
    with pytest.raises(PenjingError, match="PJ314"):
        tuned(loss=nan_from(0))


def test_fine_tune_notices_gradients_that_are_not_finite() -> None:
    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return (outputs * 0).sum().sqrt()  # 0, with an infinite slope

    with pytest.raises(PenjingError, match="PJ314"):
        tuned(loss=loss)


def test_fine_tune_refuses_a_model_with_nothing_to_train() -> None:
    model = classifier().requires_grad_(False)
    with pytest.raises(PenjingError, match="nothing to train"):
        FineTune(epochs=1, train=clusters()).apply(model, Situation(classifier()))


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0}, {"epochs": -1}, {"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": -1.0},
        {"temperature": 0.0}, {"teacher_share": 1.5}, {"clip": 0.0}, {"keep": "first"}, {"loss": "labels"},
        {"train": iter([1])}, {"precision": "float16"}, {"optimizer": "adam"}, {"momentum": 1.0},
        {"nesterov": True, "momentum": 0.0}, {"schedule": "step"}, {"warmup": 1.0}, {"ema": 1.0},
        {"label_smoothing": 1.0}, {"mixup": -0.1}, {"feature_weight": -1.0}, {"features": "block"},
        {"feature_loss": "mse"}, {"attention_weight": -1.0}, {"patience": 0},
    ],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_fine_tune_refuses_options_that_cannot_be_meant(options: dict[str, Any]) -> None:
    with pytest.raises(PenjingError, match="PJ313") as caught:
        FineTune(**{"epochs": 1, "train": clusters(), **options})
    assert next(iter(options)) in caught.value.what


@pytest.mark.parametrize("train", [[], ()], ids=str)
def test_fine_tune_refuses_no_batches(train: Any) -> None:
    with pytest.raises(PenjingError, match="PJ311"):
        tuned(train=train)


@pytest.mark.parametrize("result", [float("nan"), "high", None])
def test_fine_tune_refuses_a_metric_that_is_no_finite_number(result: Any) -> None:
    with pytest.raises(PenjingError, match="PJ315"):
        tuned(evaluate=lambda _: result)


def test_fine_tune_counts_a_train_set_that_cannot_tell_its_length() -> None:
    class Stream:
        def __iter__(self) -> Any:
            return iter(clusters())

    streamed, _ = tuned(train=Stream())
    listed, _ = tuned(train=clusters())
    assert states_equal(streamed, listed)


def test_fine_tune_tells_its_watch_of_every_epoch() -> None:
    class Told(Watch):
        events: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012 (one instance)

        def event(self, kind: str, /, **figures: Any) -> None:
            self.events.append((kind, figures))

    watch = Told()
    FineTune(epochs=2, train=clusters()).apply(classifier(), Situation(classifier(), watch=watch))
    assert [(kind, figures["epoch"]) for kind, figures in watch.events] == [("epoch", 1), ("epoch", 2)]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [1, 2, 19, 20, 1000])
def test_schedule_rises_then_falls_to_nothing(steps: int, schedule: Any) -> None:
    factors = [scheduled(schedule, steps, 0.05)(step) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert max(factors) > (0.45 if steps < 3 else 0.9)
    assert steps < 20 or factors[-1] < (0.01 if schedule == "cosine" else 1.1 / (steps - top - 1))


def test_schedule_stays_where_it_is_when_constant() -> None:
    assert [scheduled("constant", 8, 0.25)(step) for step in range(8)] == [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]


def test_schedule_begins_at_the_top_without_warm_up() -> None:
    assert scheduled("linear", 4, 0.0)(0) == 1
    assert [scheduled("linear", 4, 0.5)(step) for step in range(4)] == [1 / 3, 2 / 3, 1, 0.5]


def test_fine_tune_halves_the_rate_once_and_goes_on_when_a_loss_was_nan_once() -> None:
    calls = iter(range(10**6))

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        value = nn.functional.cross_entropy(outputs, batch[1])
        return value * float("nan") if next(calls) == 30 else value

    model, record = tuned(loss=loss, epochs=4)
    assert [epoch.epoch for epoch in record.history] == [0, 1, 2, 3, 4]
    assert len(record.notes) == 1
    assert "half the learning rate" in record.notes[0]
    assert accuracy(model.eval()) > 0.6


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "lr": 0.1}, {"optimizer": "sgd", "lr": 0.1, "nesterov": True},
        {"schedule": "linear"}, {"schedule": "constant"}, {"ema": 0.9}, {"label_smoothing": 0.1},
        {"mixup": 0.2},
    ],
    ids=str,
)  # fmt: skip
def test_fine_tune_learns_with_every_option_and_each_makes_a_difference(options: dict[str, Any]) -> None:
    model, record = tuned(loss="label", epochs=5, **options)
    assert accuracy(model.eval()) > 0.85
    assert not states_equal(model, tuned(loss="label", epochs=5)[0])
    assert {name: record.options[name] for name in options} == options


def test_fine_tune_stops_when_patience_is_over() -> None:
    figures = iter([0.1, 0.5, 0.4, 0.45, 0.9])
    _, record = tuned(evaluate=lambda _: next(figures), epochs=9, patience=2)
    assert [epoch.metric for epoch in record.history] == [0.1, 0.5, 0.4, 0.45]
    assert "stopped after epoch 3" in record.notes[0]
    assert "after epoch 1" in record.notes[1]


@pytest.mark.parametrize("options", [{}, {"keep": "last", "evaluate": accuracy}], ids=["no metric", "last"])
def test_fine_tune_refuses_patience_without_a_metric(options: dict[str, Any]) -> None:
    with pytest.raises(PenjingError, match="PJ313"):
        tuned(patience=2, **options)


def test_fine_tune_refuses_to_smooth_labels_that_only_the_users_loss_reads() -> None:
    with pytest.raises(PenjingError, match="no labels to smooth"):
        tuned(loss=lambda outputs, batch: outputs.sum(), label_smoothing=0.1)


def test_fine_tune_judges_and_keeps_the_average_of_the_weights() -> None:
    states: list[dict[str, Tensor]] = []

    def evaluate(model: nn.Module) -> float:
        states.append(deepcopy(model.state_dict()))
        return float(len(states))

    kept, _ = tuned(evaluate=evaluate, ema=0.9)
    assert all(torch.equal(value, states[-1][name]) for name, value in kept.state_dict().items())
    raw, _ = tuned()
    assert not states_equal(kept, raw)


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (lambda outputs, batch: outputs, "PJ307"),
        (lambda outputs, batch: 0.5, "PJ307"),
        (lambda outputs, batch: outputs.detach().sum(), "PJ307"),
    ],
    ids=["vector", "float", "detached"],
)
def test_fine_tune_refuses_a_loss_that_is_no_scalar(loss: Any, code: str) -> None:
    with pytest.raises(PenjingError, match=code):
        tuned(loss=loss)


def linear() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def by_hand(model: nn.Module, rates: list[float]) -> nn.Module:
    """One epoch at each rate, as the textbook has it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rates[0], momentum=0.9)
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        for x, y in clusters(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


@pytest.mark.parametrize(("bad", "rates"), [(None, [0.1] * 3), (6, [0.1, 0.05, 0.05]), (2, [0.05] * 3)])
def test_fine_tune_is_plain_training_and_after_a_nan_the_same_from_the_last_epoch_at_half_the_rate(
    bad: int | None, rates: list[float]
) -> None:
    calls = iter(range(10**6))

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        value = nn.functional.cross_entropy(outputs, batch[1])
        return value * float("nan") if next(calls) == bad else value

    model = linear()
    step = FineTune(
        epochs=3, train=clusters(4), loss=loss, optimizer="sgd", lr=0.1, schedule="constant", warmup=0.0,
        weight_decay=0.0, clip=None,
    )  # fmt: skip
    step.apply(model, Situation(linear()))
    assert states_equal(model, by_hand(linear(), rates))
