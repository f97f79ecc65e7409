"""How many go, and which: counts by hand, and the choices of `torch.nn.utils.prune`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from penjing.compress.masks import (
    ERK,
    NM,
    Below,
    BelowMaxOver,
    BelowMean,
    Block,
    KeepTop,
    Layer,
    Rows,
    Rule,
    Sparsity,
    Unstructured,
    choose,
    erk,
)  # fmt: skip
from penjing.compress.masks.rule import first_gone
from penjing.errors import PenjingError
from tests.compress.masks.models import convolutional

RULES: list[Rule] = [
    Sparsity(0.5), Sparsity(0.7, "global"), Sparsity(0.25, "row"), KeepTop(0.3), KeepTop(0.3, "global"),
    Below(0.4), BelowMaxOver(3), BelowMean(0.8), ERK(0.6),
]  # fmt: skip


def layers_of(*shapes: Sequence[int], seed: int = 0) -> dict[str, Layer]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"w{i}": Layer(torch.rand(*shape, generator=generator, dtype=torch.float64), tuple(shape))
        for i, shape in enumerate(shapes)
    }


def test_every_rule_has_a_case() -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(deeper for sub in kind.__subclasses__() for deeper in below(sub))}

    finals = {kind for kind in below(Rule) if not getattr(kind, "__abstractmethods__", None)}
    assert finals == {type(rule) for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.words)
def test_what_stays_is_as_many_as_counted_and_nothing_that_goes_is_better(rule: Rule) -> None:
    layers = layers_of((6, 8), (3, 5, 2, 2), (4, 30))
    counts, kept = rule.counts(layers), rule.kept(layers)
    for name, layer in layers.items():
        assert int((~kept[name]).sum()) == counts[name] > 0
        if not (isinstance(rule, Sparsity) and rule.scope == "row"):
            assert layer.scores[~kept[name]].max() <= layer.scores[kept[name]].min()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.words)
def test_largest_first_takes_as_many_but_the_best_ones(rule: Rule) -> None:
    """The control experiment. Over all layers together as many go in all, not in each."""
    other = type(rule)(**{**vars(rule), "order": "largest"})
    layers = layers_of((6, 8), (4, 30))
    counts, against = rule.counts(layers), other.counts(layers)
    assert sum(counts.values()) == sum(against.values())
    for name, kept in other.kept(layers).items():
        scores = layers[name].scores
        if not (isinstance(rule, Sparsity) and rule.scope == "row"):
            assert scores[~kept].min() >= scores[kept].max()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_of_equal_scores_the_earlier_go_and_counts_are_exact(scores: list[int]) -> None:
    for count in range(len(scores) + 1):
        gone = sorted(sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count])
        kept = first_gone(torch.tensor(scores, dtype=torch.float64), count)
        assert (~kept).nonzero().flatten().tolist() == gone


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=6), min_size=1, max_size=3),
    st.floats(0, 0.99), st.sampled_from([(1, 1, 1), (1, 2, 3), (4, 4, 4)]),
)  # fmt: skip
def test_global_sparsity_takes_the_first_in_order_of_all(
    scores: list[list[int]], target: float, sizes: tuple[int, ...]
) -> None:
    layers = {
        f"w{i}": Layer(torch.tensor(one, dtype=torch.float64), (len(one), size), size)
        for i, (one, size) in enumerate(zip(scores, sizes, strict=False))
    }
    every = [
        (score, name, place, layers[name].size)
        for name, layer in layers.items()
        for place, score in enumerate(layer.scores.tolist())
    ]
    left = round(target * sum(one[3] for one in every))
    counts = dict.fromkeys(layers, 0)
    for _, name, _, size in sorted(every, key=lambda one: one[0]):  # Python's sort is stable
        if (left := left - size) < 0:
            break
        counts[name] += 1
    assert Sparsity(target, "global").counts(layers) == counts


def test_rows_lose_the_same_number_each() -> None:
    layers = layers_of((5, 8))
    kept = Sparsity(0.5, "row").kept(layers)["w0"]
    for row, own in zip(layers["w0"].scores.numpy(), kept.numpy(), strict=True):
        assert set(np.flatnonzero(~own)) == set(np.argsort(row)[:4])
    turned = choose({"w0": layers["w0"].scores.T}, Unstructured(), Sparsity(0.5, "row"), outs={"w0": 1})
    assert torch.equal(turned.masks["w0"], kept.T)


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.83, 0.9])
def test_layer_and_global_choices_are_those_of_torch(amount: float) -> None:
    torch.manual_seed(0)
    model = convolutional()
    named = {n: p.detach().clone() for n, p in model.named_parameters() if p.ndim > 1}
    worth = {name: weight.abs() for name, weight in named.items()}
    modules = [(model[int(name[0])], "weight") for name in named]
    mine = choose(worth, Unstructured(), Sparsity(amount)).masks
    for name, (module, own) in zip(named, modules, strict=True):
        assert isinstance(module, nn.Module)
        prune.l1_unstructured(module, own, amount)
        assert torch.equal(module.weight_mask.bool(), mine[name])
        prune.remove(module, own)
    with torch.no_grad():
        for name, (module, _) in zip(named, modules, strict=True):
            module.weight.copy_(named[name])
    prune.global_unstructured(modules, prune.L1Unstructured, amount=amount)
    everywhere = choose(worth, Unstructured(), Sparsity(amount, "global")).masks
    for name, (module, _) in zip(named, modules, strict=True):
        assert torch.equal(module.weight_mask.bool(), everywhere[name])


def test_thresholds_are_what_they_say() -> None:
    scores = torch.tensor([0.1, 0.2, 0.5, 1.0], dtype=torch.float64)
    layers = {"w": Layer(scores, (4,))}
    assert Below(0.5).counts(layers) == {"w": 2}  # what equals it stays
    assert BelowMaxOver(2).counts(layers) == {"w": 2}
    assert BelowMaxOver(4).counts(layers) == {"w": 2}
    assert BelowMaxOver(8).counts(layers) == {"w": 1}
    assert BelowMean(1).counts(layers) == {"w": 2}
    assert BelowMean(0.3).counts(layers) == {"w": 1}


def test_magnitude_of_a_single_weight_is_exact_in_a_threshold() -> None:
    from penjing.criteria import Magnitude, Statistics

    weight = torch.randn(64, 64)
    eps = float(weight.abs().flatten()[7])
    criterion = Magnitude()
    found = choose(
        {"w": criterion.worth("w", weight, Statistics())}, Unstructured(), Below(eps), finish=criterion.finish
    )
    assert torch.equal(found.masks["w"], weight.abs() >= eps)


# By hand: ER density eps (n_in + n_out) / (n_in n_out), kernels included; capped at 1.
def test_erk_densities_are_those_of_the_paper() -> None:
    shapes = {"a": (64, 3, 3, 3), "b": (64, 64, 3, 3), "c": (128, 64, 1, 1), "d": (10, 128)}
    densities = erk(shapes, 0.9)
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    assert sum(densities[n] * sizes[n] for n in shapes) == pytest.approx(0.1 * sum(sizes.values()))
    ratio = {n: sum(shapes[n]) / sizes[n] for n in shapes}
    loose = [n for n in shapes if densities[n] < 1]
    assert loose
    for one, other in itertools.pairwise(loose):
        assert densities[one] / densities[other] == pytest.approx(ratio[one] / ratio[other])
    for name in set(shapes) - set(loose):  # would be more than whole at the scale of the others
        assert ratio[name] * densities[loose[0]] / ratio[loose[0]] >= 1


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 0.99])
def test_erk_keeps_the_share_whatever_the_shapes(sparsity: float) -> None:
    shapes = {"a": (4, 4), "b": (100, 7), "c": (1, 1), "d": (64, 64, 3, 3)}
    densities = erk(shapes, sparsity)
    assert all(0 < density <= 1 for density in densities.values())
    total = sum(densities[n] * np.prod(shapes[n]) for n in shapes)
    assert total == pytest.approx((1 - sparsity) * sum(np.prod(shape) for shape in shapes.values()))


def test_rule_that_empties_a_layer_is_refused_with_the_numbers() -> None:
    layers = {"big": Layer(torch.rand(4, 4) + 1, (4, 4)), "tiny": Layer(torch.full((2, 3), 0.01), (2, 3))}
    with pytest.raises(PenjingError, match=r"leaves nothing of `tiny`: all of its 6 groups") as caught:
        Sparsity(0.5, "global").kept(layers)
    assert caught.value.code == "PJ812"
    assert "0.01 to 0.01" in caught.value.because
    kept = Sparsity(0.5, "global", least=0.2).kept(layers)
    assert int(kept["tiny"].sum()) == 2  # a fifth of six, and no less
    assert sum(int((~one).sum()) for one in kept.values()) == 11
    with pytest.raises(PenjingError, match="leaves nothing of `big`"):
        Below(2.0).kept({"big": layers["big"]})


def test_rule_that_takes_nothing_is_refused_with_the_numbers_unless_that_is_meant() -> None:
    layers = layers_of((4, 4))
    with pytest.raises(PenjingError, match="takes nothing away") as caught:
        Below(1e-9).kept(layers)
    assert f"{float(layers['w0'].scores.min()):.3g}" in caught.value.because
    assert bool(Below(1e-9).kept(layers, nothing=True)["w0"].all())


def test_scores_that_are_nan_are_refused() -> None:
    layers = {"w": Layer(torch.tensor([1.0, float("nan")]), (2,))}
    with pytest.raises(PenjingError, match="1 of 2 scores of `w` are NaN") as caught:
        Sparsity(0.5).kept(layers)
    assert caught.value.code == "PJ813"
    with pytest.raises(PenjingError, match="`w` are NaN"):
        choose({"w": torch.full((2, 4), float("nan"))}, NM(2, 4), None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sparsity(1.0), lambda: Sparsity(-0.1), lambda: Sparsity(float("nan")), lambda:
            Sparsity(0.5, least=2),
        lambda: KeepTop(0), lambda: KeepTop(1.5), lambda: Below(0), lambda: BelowMean(-1), lambda: ERK(1),
        lambda: BelowMaxOver(float("inf")),
    ],
)  # fmt: skip
def test_option_out_of_range_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(PenjingError) as caught:
        make()
    assert caught.value.code == "PJ811"


def test_what_is_gone_goes_first_again() -> None:
    worth = {"w": torch.rand(8, 8), "v": torch.rand(4, 8)}
    for pattern, rule in (
        (Unstructured(), Sparsity(0.4)), (Unstructured(), Sparsity(0.4, "global")), (Block((2, 2)),
        Sparsity(0.4)), (Unstructured(), Sparsity(0.4, order="largest")), (Unstructured(), Below(0.3)),
        (Unstructured(), ERK(0.4)), (Unstructured(), Sparsity(0.4, "row")),
    ):  # fmt: skip
        first = choose(worth, pattern, rule).masks
        anew = {name: torch.rand(one.shape) for name, one in worth.items()}
        second = choose(anew, pattern, type(rule)(**{**vars(rule), **_more(rule)}), before=first).masks
        for name in worth:
            assert not bool((second[name] & ~first[name]).any())


def _more(rule: Rule) -> dict[str, float]:
    return {"eps": 0.5} if isinstance(rule, Below) else {"target": 0.6}


def test_pattern_that_suits_no_layer_is_refused_and_one_that_suits_some_is_noted() -> None:
    worth = {"stem": torch.rand(8, 3, 3, 3), "body": torch.rand(8, 8, 3, 3)}
    found = choose(worth, NM(2, 4), None)
    assert list(found.masks) == ["body"]
    assert found.notes == {"stem": "stays whole: dimension 1 has 3, no multiple of 4: 4 would fit"}
    with pytest.raises(PenjingError, match="does not suit `stem`") as caught:
        choose(worth, NM(2, 4), None, unsuited="refuse")
    assert caught.value.code == "PJ810"
    with pytest.raises(PenjingError, match="nor any other"):
        choose({"stem": worth["stem"]}, NM(2, 4), None)
    with pytest.raises(PenjingError, match="does not say how many"):
        choose(worth, Rows(), None)


def test_groups_of_different_sizes_compete_by_their_mean() -> None:
    wide, narrow = torch.full((4, 100), 1.0), torch.full((4, 2), 2.0)
    found = choose({"wide": wide, "narrow": narrow}, Rows(), Sparsity(0.7, "global"))
    assert found.masks.counts["narrow"].kept == 8
    assert found.masks.counts["wide"].kept == 200
