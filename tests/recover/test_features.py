from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from penjing.errors import PenjingError
from penjing.network import trace
from penjing.plan import Plan
from penjing.recover import BatchNorm, FineTune, Situation
from penjing.recover.distances import attention, feature_loss, kept_units, similarity, units
from penjing.recover.features import caught, chosen
from penjing.surgery import cut
from tests.recover.models import classifier, clusters


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.norm(self.conv(x))).relu()


class Residual(nn.Module):
    """Two stages of blocks, as residual networks have them."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.one = nn.Sequential(Block(width), Block(width))
        self.two = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2), Block(2 * width))
        self.head = nn.Linear(2 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(self.stem(x).relu())).mean((2, 3)))


def residual() -> Residual:
    """With the statistics of its inputs, as a trained one has them."""
    torch.manual_seed(0)
    model = Residual()
    BatchNorm(images()).apply(model, Situation(model))
    return model.eval()


def images(batches: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 1, 9, 9, generator=generator) for _ in range(batches)]


def tiny_bert() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).eval()


class Direct(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = Block(4), Block(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x)))


@pytest.mark.parametrize(
    ("model", "patterns", "names"),
    [
        (residual(), None, ["one.0", "one.1", "two.1"]),
        (tiny_bert(), None, ["encoder.layer.0", "encoder.layer.1"]),
        (Direct(), None, ["a", "b"]),
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2)), None, ["0", "2"]),
        (residual(), ["two.*", "stem"], ["stem", "two.0", "two.1", "two.1.conv", "two.1.norm"]),
    ],
    ids=["residual", "bert", "direct", "plain", "patterns"],
)
def test_features_are_blocks_unless_named(model: nn.Module, patterns: Any, names: list[str]) -> None:
    assert chosen(model, patterns) == names


@pytest.mark.parametrize(("model", "patterns"), [(nn.Linear(2, 2), None), (residual(), ["three.*"])])
def test_features_refuse_when_there_are_none(model: nn.Module, patterns: Any) -> None:
    with pytest.raises(PenjingError, match="PJ317"):
        chosen(model, patterns)


def test_caught_features_are_what_modules_give_and_hooks_go() -> None:
    model = residual()
    with caught(model, ["one.0", "gone"]) as found:
        model(images()[0])
    assert list(found) == ["one.0"]
    torch.testing.assert_close(found["one.0"], model.one[0](model.stem(images()[0]).relu()))
    assert not model.one[0]._forward_hooks


def rows(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_similarity_is_that_of_the_paper() -> None:
    mine, theirs = torch.randn(5, 3, 4, 4), torch.randn(5, 7, 4, 4)
    a, b = mine.flatten(1).numpy(), theirs.flatten(1).numpy()
    expected = ((rows(a @ a.T) - rows(b @ b.T)) ** 2).sum() / 25
    assert similarity(mine, theirs).item() == pytest.approx(expected, rel=1e-4)
    assert similarity(theirs[:, torch.randperm(7)] * 3, theirs).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("mine", "theirs", "channels"),
    [((5, 3, 4, 6), (5, 7, 4, 6), 1), ((5, 6, 3), (5, 6, 8), 2), ((5, 3, 6), (5, 8, 6), 1),
     ((5, 4, 4, 3), (5, 4, 4, 6), 3), ((5, 3, 4, 4), (5, 3, 4, 4), 1), ((5, 6, 3), (5, 6, 3), 2)],
    ids=str,
)  # fmt: skip
def test_attention_transfer_is_that_of_the_paper(
    mine: tuple[int, ...], theirs: tuple[int, ...], channels: int
) -> None:
    one, other = torch.randn(mine), torch.randn(theirs)
    a, b = (rows((x.numpy() ** 2).sum(channels).reshape(5, -1)) for x in (one, other))
    assert attention(one, other).item() == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-4)


def test_attention_transfer_refuses_features_without_places() -> None:
    with pytest.raises(PenjingError, match="PJ317"):
        attention(torch.randn(5, 3), torch.randn(5, 4))


def test_units_compares_the_kept_ones() -> None:
    theirs = torch.randn(5, 4, 3)
    kept = {1: [0, 3]}
    assert units(theirs[:, [0, 3]], theirs, kept).item() == 0
    found = units(theirs[:, [1, 3]], theirs, kept).item()
    aim = theirs[:, [0, 3]]
    expected = (theirs[:, [1, 3]] - aim).square().mean() / aim.square().mean()
    assert found == pytest.approx(expected.item(), rel=1e-5)


def halved(model: nn.Module, inputs: Any) -> tuple[nn.Module, Situation]:
    """The model with every other unit of its axes, and what a run would tell its steps."""
    net = trace(model, inputs)
    kept = {axis.name: tuple(range(1, axis.size, 2)) for axis in net.prunable}
    plan = Plan(kept=kept)
    return cut(net, plan).model, Situation(model, net=net, plan=plan)


def test_kept_units_are_those_of_the_plan() -> None:
    model = residual()
    small, situation = halved(model, images()[0])
    names = ["stem", "one.0", "one.0.conv", "one", "two", "head"]
    kept = kept_units(situation.net, situation.plan, names)
    with caught(model, names) as theirs, caught(small, names) as mine:
        model(images()[0])
        small(images()[0])
    assert kept["head"] == {}
    for name in names[:-1]:
        assert list(kept[name]) == [1]
        assert kept[name][1] == list(range(1, theirs[name].shape[1], 2))
    assert feature_loss({"stem": mine["stem"]}, theirs, "units", kept).item() == pytest.approx(0, abs=1e-10)
    assert feature_loss(mine, theirs, "units", kept).item() > 0.01


def test_units_refuses_where_nobody_knows_what_was_kept() -> None:
    step = FineTune(epochs=1, train=images(), loss="teacher", feature_weight=1.0, feature_loss="units")
    with pytest.raises(PenjingError, match="PJ317"):
        step.apply(residual(), Situation(residual()))


def test_feature_loss_names_what_differs() -> None:
    with pytest.raises(PenjingError, match="`a` cannot be compared") as caught_:
        feature_loss({"a": torch.ones(2, 3)}, {"a": torch.ones(2, 4)}, "units", {"a": {1: [0, 2]}})
    assert "(2, 3), where (2, 2)" in caught_.value.because
    with pytest.raises(PenjingError, match="no features"):
        feature_loss({}, {"a": torch.ones(2, 4)}, "similarity", {})


@pytest.mark.parametrize("how", ["similarity", "attention", "units"])
def test_fine_tune_brings_features_nearer_to_the_original(how: Any) -> None:
    model = residual()
    small, situation = halved(model, images()[0])
    names = chosen(model, None)
    kept = kept_units(situation.net, situation.plan, names)

    def distance() -> float:
        with torch.no_grad(), caught(model, names) as theirs, caught(small, names) as mine:
            model.eval()(images()[0])
            small.eval()(images()[0])
        return feature_loss(mine, theirs, how, kept).item()

    before = distance()
    # The loss on outputs is nothing here, so that only features can move the weights.
    step = FineTune(
        epochs=15,
        train=images(),
        loss=lambda y, batch: 0 * y.sum(),
        feature_weight=1.0,
        feature_loss=how,
        lr=3e-3,
    )
    record = step.apply(small, situation)
    assert distance() < 0.6 * before
    assert record.options["feature_loss"] == how


def test_fine_tune_follows_the_attention_of_the_original_with_fewer_heads() -> None:
    model = tiny_bert()
    generator = torch.Generator().manual_seed(0)
    batches = [{"input_ids": torch.randint(50, (4, 9), generator=generator)} for _ in range(3)]
    net = trace(model, batches[0])
    heads = next(axis for axis in net.prunable if axis.size == 4)
    plan = Plan(kept={heads.name: (1, 2)})
    small = cut(net, plan).model
    step = FineTune(
        epochs=8, train=batches, loss=lambda y, batch: 0 * y[0].sum(), attention_weight=1.0, lr=3e-3
    )
    record = step.apply(small, Situation(model, net=net, plan=plan))
    losses = [epoch.loss for epoch in record.history[1:]]
    assert losses[-1] < 0.5 * losses[0]
    assert losses[0] > 0


def test_fine_tune_refuses_attention_of_a_model_without() -> None:
    with pytest.raises(PenjingError, match="PJ317"):
        FineTune(epochs=1, train=clusters(2), attention_weight=1.0).apply(
            classifier(), Situation(classifier())
        )
