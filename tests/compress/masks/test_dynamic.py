"""Dynamic sparse training, surgery and lottery tickets."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from penjing.compress.masks import (
    SET,
    Dynamic,
    Masks,
    RigL,
    Surgery,
    apply,
    bake,
    masks_of,
    rewind,
    weights,
    zero,
)
from penjing.compress.masks.dynamic import exchanged
from penjing.compress.masks.splice import spliced
from penjing.errors import PenjingError
from tests.compress.masks.models import Language, convolutional
from tests.compress.masks.test_gradual import stepped
from tests.compress.masks.test_masks import OPTIMIZERS, random_masks


@given(st.integers(0, 6), st.integers(0, 999))
def test_exchange_is_that_of_algorithm_1(count: int, seed: int) -> None:
    """Sets in plain Python: drop the smallest that are there, grow the largest that then are not."""
    rng = np.random.default_rng(seed)
    mask = rng.random(12) < 0.5
    weight, promise = rng.normal(size=12) * mask, rng.random(12)
    found = exchanged(torch.tensor(weight), torch.tensor(mask), torch.tensor(promise), count)
    number = min(count, int(mask.sum()), int((~mask).sum()))
    there = {i for i in range(12) if mask[i]}
    left = there - set(sorted(there, key=lambda i: abs(weight[i]))[:number])
    grown = set(sorted(set(range(12)) - left, key=lambda i: -promise[i])[:number])
    assert set(found.nonzero().flatten().tolist()) == left | grown
    assert int(found.sum()) == len(there)


@pytest.mark.parametrize("kind", [RigL, SET])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_as_many_weights_are_there_at_every_step(kind: type[Dynamic], name: str) -> None:
    torch.manual_seed(0)
    model = convolutional()
    optimizer = OPTIMIZERS[name](model.parameters())
    dynamic = kind(model, 0.6, optimizer=optimizer, every=3, end=12)
    counts = dynamic.masks.counts
    for path, mask in dynamic.masks.items():
        assert torch.equal(model.get_parameter(path) != 0, mask)
    assert dynamic.masks.sparsity == pytest.approx(0.6, abs=0.01)
    moved = 0
    for step in range(1, 15):
        before, old = dynamic.masks, deepcopy(model.state_dict())
        stepped(model, optimizer, step)
        values = deepcopy(model.state_dict())
        gradients = {n: one.tensor.grad.clone() for n, one in weights(model)[0].items()}
        changed = dynamic.step()
        assert changed == (step in (3, 6, 9))
        assert dynamic.masks.counts == counts
        for path, mask in dynamic.masks.items():
            weight = model.get_parameter(path)
            new = mask & ~before[path]
            assert bool((weight[~mask | new] == 0).all())
            stayed = mask & before[path]
            assert torch.equal(weight[stayed], values[path][stayed])
            for value in optimizer.state[weight].values():
                assert value.shape != weight.shape or bool((value[~mask | new] == 0).all())
            if changed and kind is RigL and bool(new.any()):
                empty = ~before[path] & ~mask
                assert gradients[path][new].abs().min() >= gradients[path][empty].abs().max()
            moved += int(new.sum())
        assert old.keys() == values.keys()
    assert moved > 0


def test_fewer_and_fewer_are_exchanged() -> None:
    dynamic = RigL(convolutional(), 0.5, every=1, end=100, fraction=0.4)
    assert [dynamic.share(step) for step in (0, 50, 100)] == pytest.approx([0.4, 0.2, 0])
    assert SET(convolutional(), 0.5, fraction=0.4).share(50) == 0.4


def test_growing_without_gradients_is_refused() -> None:
    dynamic = RigL(convolutional(), 0.5, every=1)
    with pytest.raises(PenjingError, match="no gradient") as caught:
        dynamic.step()
    assert caught.value.code == "PJ819"


@pytest.mark.parametrize(
    ("options", "code"),
    [({"every": 0}, "PJ817"), ({"end": 0}, "PJ817"), ({"fraction": 1.0}, "PJ811"),
     ({"scope": "global"}, "PJ811"), ({"sparsity": 1.0}, "PJ811")],
)  # fmt: skip
def test_option_that_cannot_be_is_refused(options: dict[str, object], code: str) -> None:
    with pytest.raises(PenjingError) as caught:
        RigL(convolutional(), **{"sparsity": 0.5, **options})  # type: ignore[arg-type]
    assert caught.value.code == code


def test_dynamic_training_goes_on_from_its_state() -> None:
    masks = random_masks(convolutional())
    one = SET(convolutional(), 0.5, every=2, masks=masks)
    assert one.masks == masks
    for _ in range(3):
        one.step()
    other = SET(convolutional(), 0.5, every=2)
    other.load_state_dict(deepcopy(one.state_dict()))
    one.step()
    other.step()
    assert one.steps == other.steps == 4
    assert one.masks.counts == other.masks.counts == masks.counts


@given(st.floats(0, 2), st.booleans())
def test_splicing_is_equation_3(size: float, there: bool) -> None:
    by_hand = False if size < 0.9 else True if size >= 1.1 else there
    for sign in (1, -1):
        weight = torch.tensor([sign * size], dtype=torch.float64)
        assert bool(spliced(weight, torch.tensor([there]), 0.9, 1.1)) == by_hand


def test_what_is_cut_off_learns_and_comes_back() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0.1]])
    surgery = Surgery(layer, c=0.0, decay=0.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    assert surgery.step()
    assert surgery.masks["weight"].tolist() == [[True, False]]
    x, y = torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.tensor([[2.0], [1.0]])  # needs both weights
    for _ in range(30):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        assert bool((layer.parametrizations.weight.original.grad != 0).all())
        optimizer.step()
        surgery.step()
    assert bool(surgery.masks["weight"].all())
    torch.testing.assert_close(layer(x), y, atol=0.1, rtol=0)


def test_surgery_is_made_final_and_leaves_what_it_cannot_mask() -> None:
    torch.manual_seed(0)
    model = Language().eval()
    surgery = Surgery(model, c=0.5)
    assert "past parametrizations" in surgery.notes["memory.weight_hh_l0"]
    surgery.step()
    tokens = torch.arange(5)[None]
    y, masks = model(tokens), surgery.masks
    assert 0.5 < masks.sparsity < 1
    bake(model)
    assert masks_of(model) == masks
    torch.testing.assert_close(model(tokens), y)
    with pytest.raises(PenjingError, match="nothing would be left") as caught:
        Surgery(convolutional(), c=10).step()
    assert caught.value.code == "PJ812"
    with pytest.raises(PenjingError, match="threshold"):
        Surgery(convolutional(), c=-10)


def test_surgery_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    model = convolutional()
    twin = deepcopy(model)
    one = Surgery(model, decay=0.5)
    first = [one.step() for _ in range(6)]
    assert True in first
    assert False in first
    other = Surgery(twin, decay=0.5)
    other.load_state_dict(deepcopy(one.state_dict()))
    assert other.masks == one.masks
    assert [one.step() for _ in range(9)] == [other.step() for _ in range(9)]


@pytest.mark.parametrize("masked", [True, False])
def test_ticket_has_the_weights_of_the_beginning_and_the_zeros_of_the_end(masked: bool) -> None:
    torch.manual_seed(0)
    model = convolutional()
    earlier = deepcopy(model.state_dict())
    stepped(model, torch.optim.SGD(model.parameters(), lr=0.1), 0)
    masks = random_masks(model)
    (apply if masked else zero)(model, masks)
    rewind(model, masks, earlier)
    assert masks_of(model) == masks
    assert ("0.parametrizations.weight.original" in model.state_dict()) == masked
    for name, value in bake(model).state_dict().items():
        wanted = earlier[name] * masks[name] if name in masks else earlier[name]  # running statistics, too
        assert torch.equal(value, wanted)


def test_state_that_does_not_fit_is_refused_and_the_model_is_as_it_was() -> None:
    model = convolutional()
    masks = random_masks(model)
    earlier = deepcopy(model.state_dict())
    apply(model, masks)
    before = deepcopy(model.state_dict())
    wrong: list[tuple[Mapping[str, Tensor], dict[str, Tensor]]] = [
        (masks, before),
        (masks, {**earlier, "0.bias": torch.zeros(3)}),
        ({"x": masks["0.weight"]}, earlier),
    ]
    for wrong_masks, state in wrong:
        with pytest.raises(PenjingError) as caught:
            rewind(model, wrong_masks, state)
        assert caught.value.code == "PJ814"
        assert masks_of(model) == Masks(dict(masks))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
