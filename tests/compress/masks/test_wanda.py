"""Wanda, by loops over what layers read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import penjing as pj
from penjing import criteria
from penjing.compress.masks import Sparsity, Unstructured, Wanda, choose
from penjing.compress.masks.wanda import second_moments
from penjing.errors import PenjingError
from tests.compress.masks.models import Tied


def scored(model: nn.Module, data: list[Tensor]) -> dict[str, Tensor]:
    net = pj.trace(model, data[0])
    statistics = criteria.collect(net, Wanda.record.needs, data=data, loss=None)
    weights = {name: p.detach() for name, p in model.named_parameters() if p.ndim > 1}
    return {name: Wanda().worth(name, weight, statistics) for name, weight in weights.items()}


def inputs_of(model: nn.Module, layer: nn.Module, data: list[Tensor]) -> list[Tensor]:
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    for one in data:
        model(one)
    handle.remove()
    return seen


def test_linear_layers_are_worth_what_the_paper_says() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    data = [torch.randn(5, 6) + 3 for _ in range(4)]  # a mean that is far from zero
    found = scored(model, data)
    for index in (0, 2):
        x = torch.cat(inputs_of(model, model[index], data)).double().numpy()
        weight = model[index].weight.detach().double().numpy()
        by_hand = np.zeros_like(weight)
        for i in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                by_hand[i, j] = abs(weight[i, j]) * np.sqrt((x[:, j] ** 2).mean())
        np.testing.assert_allclose(found[f"{index}.weight"].numpy(), by_hand, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_are_worth_the_same_over_their_patches(groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups)
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(54, 2)).eval()
    data = [torch.randn(3, 4, 6, 6) + 1 for _ in range(2)]
    found = scored(model, data)["0.weight"]
    patches = functional.unfold(torch.cat(data).double(), 3, padding=1, stride=2)
    squares = patches.square().mean((0, 2)).view(4, 3, 3)
    each = 4 // groups
    for out in range(6):
        first = out // (6 // groups) * each
        by_hand = layer.weight[out].detach().abs().double() * squares[first : first + each].sqrt()
        torch.testing.assert_close(found[out], by_hand, rtol=1e-5, atol=0)


def test_moments_are_those_of_the_features_themselves() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    data = [torch.randn(7, 6) * 2 + 5 for _ in range(3)]
    statistics = criteria.collect(pj.trace(model, data[0]), {"grams"}, data=data, loss=None)
    assert statistics.grams is not None
    x = torch.cat(data).double()
    found = second_moments(statistics.grams.of(["0.weight"])["0.weight"])
    torch.testing.assert_close(found[0], x.T @ x / len(x), rtol=1e-5, atol=1e-5)


def test_weights_of_one_output_compete() -> None:
    """An output of small weights keeps as many as the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    model[0].weight.data[0] *= 1e-3
    data = [torch.randn(16, 8)]
    found = pj.sparsify(model, data[0], criterion="wanda", sparsity=0.5, data=data)
    assert (found.masks["0.weight"].sum(1) == 4).all()
    worth = scored(model, data)
    assert found.masks == choose(worth, Unstructured(), Sparsity(0.5, "row")).masks
    assert found.record.rule == 'Sparsity(0.5, "row")'


def test_weight_of_which_it_is_not_known_what_it_multiplies_is_left_and_noted() -> None:
    model = Tied().eval()
    data = [torch.randn(4, 8)]
    with pytest.raises(PenjingError) as caught:
        scored(model, data)
    assert caught.value.code == "PJ818"
    both = nn.Sequential(nn.Linear(8, 8), model).eval()
    found = pj.sparsify(both, data[0], criterion="wanda", sparsity=0.5, data=data)
    assert list(found.masks) == ["0.weight"]
    note = next(one.note for one in found.record.layers if one.name == "1.one.weight")
    assert "not known" in note
