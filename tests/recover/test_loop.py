from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.recover import HuggingFace, Lightning, Loop, Situation
from tests.recover.models import accuracy, classifier, clusters
from tests.recover.test_resume import same


def trains(
    model: nn.Module, original: nn.Module, *, lr: float = 0.1, only: Callable[[str], bool] | None = None
) -> None:
    """A loop as users write it."""
    named = model.named_parameters()
    optimizer = torch.optim.SGD([p for n, p in named if only is None or only(n)], lr=lr)
    for _ in range(3):
        for x, y in clusters():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def test_loop_trains_in_place_and_is_recorded() -> None:
    model = classifier(1)
    record = Loop(trains).apply(model, Situation(classifier()))
    assert accuracy(model.eval()) > 0.9
    assert record.method == "loop"
    assert record.options == {"function": "trains"}
    assert record.seconds > 0
    assert not record.notes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_loop_is_given_the_model_in_training_and_the_original_in_eval_mode() -> None:
    model, teacher, seen = classifier(1).eval(), classifier(0), []

    def train(small: nn.Module, original: nn.Module) -> None:
        seen.append((small is model, small.training, original is teacher, original.training))
        model.norm.eval()

    model.drop.train()
    Loop(train).apply(model, Situation(teacher))
    assert seen == [(True, True, True, False)]
    assert [m.training for m in model.modules()] == [False, False, False, True, False]
    assert all(m.training for m in teacher.modules())


def test_loop_follows_the_seed_of_the_job() -> None:
    def train(model: nn.Module, original: nn.Module) -> None:
        with torch.no_grad():
            model.first.weight.add_(torch.rand(16, 6))

    def run(seed: int, noise: int) -> nn.Module:
        torch.manual_seed(noise)
        model = classifier(1)
        Loop(train).apply(model, Situation(classifier(), seed=seed))
        return model

    assert same(run(1, 5), run(1, 6))
    assert not same(run(1, 5), run(2, 5))


def test_loop_puts_frozen_parameters_and_their_flags_back() -> None:
    model = classifier(1)
    model.first.requires_grad_(False)

    def train(small: nn.Module, original: nn.Module) -> None:
        small.requires_grad_(True)
        trains(small, original)

    record = Loop(train).apply(model, Situation(classifier()))
    assert torch.equal(model.first.weight, classifier(1).first.weight)
    assert not torch.equal(model.last.weight, classifier(1).last.weight)
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    # In front of a batch norm a bias has a gradient of zero but for rounding: changed or not.
    assert "`first.weight`" in record.notes[0]
    assert "were frozen and had been changed: put back" in record.notes[0]


def test_loop_says_so_when_nothing_has_changed() -> None:
    record = Loop(lambda model, original: None).apply(classifier(1), Situation(classifier()))
    assert "changed nothing" in record.notes[0]


def raises(model: nn.Module, original: nn.Module) -> None:
    trains(model, original)
    raise ValueError("no more")


def widens(model: Any, original: nn.Module) -> None:
    trains(model, original)
    model.last = nn.Linear(16, 5)


def narrows(model: nn.Module, original: nn.Module) -> None:
    model.half()


def copies(model: nn.Module, original: nn.Module) -> nn.Module:
    other = deepcopy(model)
    trains(other, original)
    return other


def spoils(model: Any, original: nn.Module) -> None:
    trains(model, original)
    with torch.no_grad():
        model.norm.running_var[3] = float("inf")


@pytest.mark.parametrize(
    ("train", "code", "says"),
    [
        (raises, "PJ330", "ValueError: no more"),
        (widens, "PJ331", "`last.weight`: (3, 16) float32, now (5, 16) float32"),
        (narrows, "PJ331", "`first.weight`: (16, 6) float32, now (16, 6) float16"),
        (copies, "PJ331", "trained in place"),
        (spoils, "PJ332", "`norm.running_var`"),
    ],
)
def test_loop_refuses_what_must_not_be_and_rolls_back(train: Any, code: str, says: str) -> None:
    model = classifier(1).eval()
    before = deepcopy(model.state_dict())
    with pytest.raises(PenjingError, match=code) as caught:
        Loop(train).apply(model, Situation(classifier()))
    assert says in caught.value.because
    assert f"`{train.__name__}`" in caught.value.what
    if code == "PJ330":
        assert "test_loop.py" in caught.value.path
    if train is not narrows:
        now: dict[str, Tensor] = model.state_dict()
        kept = {name for name, value in before.items() if torch.equal(value, now[name])}
        assert kept >= {name for name in before if train is not widens or not name.startswith("last")}
    assert not model.training


@pytest.mark.parametrize("step", [Loop, HuggingFace, lambda given: Lightning(given, [])])
def test_own_training_refuses_what_is_no_function(step: Any) -> None:
    with pytest.raises(PenjingError, match="PJ313"):
        step("my_loop")


def test_loop_is_left_at_once_when_interrupted_with_the_weights_as_before() -> None:
    def train(model: nn.Module, original: nn.Module) -> None:
        trains(model, original)
        raise KeyboardInterrupt

    model = classifier(1)
    with pytest.raises(KeyboardInterrupt):
        Loop(train).apply(model, Situation(classifier()))
    assert same(model, classifier(1))
