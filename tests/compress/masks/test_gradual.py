"""Sparsification in the user's own loop."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from penjing.compress.masks import (
    NM,
    Cubic,
    Gradual,
    Iterative,
    Masks,
    Multistep,
    OneShot,
    RandomWeights,
    masks_of,
)
from penjing.criteria import Statistics, Taylor, WeightCriterion
from penjing.errors import PenjingError
from tests.compress.masks.models import convolutional
from tests.compress.masks.test_masks import OPTIMIZERS


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(4, 3, 6, 6)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("pattern", ["unstructured", "rows", "4x1"])
def test_masks_follow_the_schedule_and_nothing_comes_back(name: str, pattern: str) -> None:
    torch.manual_seed(0)
    model = convolutional()
    optimizer = OPTIMIZERS[name](model.parameters())
    schedule = Cubic(0.7, begin=2, end=10, every=2)
    gradual = Gradual(model, schedule, optimizer=optimizer, pattern=pattern, scope="layer")
    before: Masks | None = None
    for step in range(14):
        stepped(model, optimizer, step)
        changed = gradual.step()
        assert changed == (step in (4, 6, 8, 10))
        assert gradual.sparsity == schedule.at(step)
        if gradual.masks:
            assert masks_of(model) == gradual.masks
            for path, mask in gradual.masks.items():
                groups = {"unstructured": mask.numel(), "rows": len(mask), "4x1": mask.numel() // 4}[pattern]
                zeros = int((~mask).sum()) * groups // mask.numel()
                assert zeros == round(schedule.at(step) * groups)
                assert before is None or not bool((mask & ~before[path]).any())
            before = gradual.masks
    assert before is not None


def test_two_of_four_come_one_after_the_other() -> None:
    model = convolutional()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    gradual = Gradual(model, Multistep({0: 0.1, 1: 0.3, 2: 0.5}), optimizer=optimizer, pattern=NM(2, 4))
    found = []
    for step in range(4):
        stepped(model, optimizer, step)
        gradual.step()
        found.append(gradual.masks.sparsity)
    assert found == [0, 0.25, 0.5, 0.5]
    assert "no multiple of 4" in gradual.notes["0.weight"]
    for name, mask in gradual.masks.items():
        lanes = mask.movedim(1, -1).reshape(-1, 4)
        assert bool((lanes.sum(1) == 2).all()), name


def test_scope_decides_what_competes() -> None:
    for scope in ("global", "layer", "row", "erk"):
        model = convolutional()
        gradual = Gradual(model, OneShot(0.5), scope=scope)
        assert gradual.step()
        assert gradual.masks.sparsity == pytest.approx(0.5, abs=0.02)
        per = {name: one.sparsity for name, one in gradual.masks.counts.items()}
        assert (max(per.values()) - min(per.values()) < 0.04) == (scope in ("layer", "row"))
    with pytest.raises(PenjingError, match="no scope `rows`"):
        Gradual(convolutional(), OneShot(0.5), scope="rows")  # type: ignore[arg-type]


def test_criterion_is_told_what_it_needs_when_masks_change() -> None:
    model = convolutional()
    calls = []

    def statistics() -> Statistics:
        calls.append(len(calls))
        return Statistics(
            1, 0.0, {name: torch.rand(p.shape).double() for name, p in model.named_parameters()}
        )

    gradual = Gradual(model, Iterative(0.5, 2, every=3), criterion=Taylor(), statistics=statistics)
    for _ in range(6):
        gradual.step()
    assert calls == [0, 1]
    assert gradual.masks.sparsity == pytest.approx(0.5, abs=1e-3)


def test_training_goes_on_from_where_it_was() -> None:
    def made() -> tuple[nn.Module, torch.optim.Optimizer, Gradual]:
        torch.manual_seed(0)
        model = convolutional()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        return model, optimizer, Gradual(model, Cubic(0.8, 0, 8), optimizer=optimizer)

    model, optimizer, gradual = made()
    for step in range(5):
        stepped(model, optimizer, step)
        gradual.step()
    saved = deepcopy((model.state_dict(), optimizer.state_dict(), gradual.state_dict()))
    other = made()
    for one, state in zip(other, saved, strict=True):
        one.load_state_dict(state)
    for step in range(5, 10):
        for own_model, own_optimizer, own in ((model, optimizer, gradual), other):
            stepped(own_model, own_optimizer, step)
            own.step()
    assert gradual.masks == other[2].masks
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other[0].parameters(), strict=True))
    assert gradual.masks.sparsity == pytest.approx(0.8, abs=1e-3)


def test_weights_are_as_they_were_where_masks_cannot_be_chosen() -> None:
    model = convolutional()
    model[0].weight.data[0, 0, 0, 0] = float("nan")
    before = deepcopy(model.state_dict())
    with pytest.raises(PenjingError, match="`0\\.weight` are NaN"):
        Gradual(model, OneShot(0.5)).step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], equal_nan=True, rtol=0, atol=0)


class Changing(WeightCriterion):
    """Something else at every call."""

    record = RandomWeights.record

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        return torch.rand(weight.shape, dtype=torch.float64)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "4x1"])
def test_what_is_gone_stays_gone_whatever_a_criterion_says_later(pattern: str) -> None:
    model = convolutional()
    gradual = Gradual(model, Multistep({0: 0.3, 1: 0.4, 2: 0.5}), pattern=pattern, criterion=Changing())
    before = None
    for _ in range(3):
        gradual.step()
        assert before is None or not any(bool((gradual.masks[n] & ~before[n]).any()) for n in before)
        before = gradual.masks
    assert gradual.masks.sparsity == pytest.approx(0.5, abs=1e-2)
