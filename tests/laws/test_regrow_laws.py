"""However often a network is cut, and whatever its weights become, one plan says what it is."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from penjing.network import Network, trace
from penjing.plan import Plan
from penjing.surgery import Cut, cut, redo, regrown, same_axes
from tests.surgery.shrink import apart
from tests.zoo.entry import Entry
from tests.zoo.registry import ENTRIES

ZOO = {entry.name: entry for entry in ENTRIES}
NAMES = [
    "resnext", "resnet_groupnorm", "shufflenet_v2", "gpt", "mini_llama", "lstm_classifier",
    "autoencoder_tied", *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "resnet_basic", "densenet", "inception", "mobilenet_v2", "vit_manual_attention", "squeezenet",
            "unet", "transformer_encoder", "swin", "conformer", "moe_dense", "res2net",
        )
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Twice:
    """A network that was cut, trained (as far as weights can tell), and cut again."""

    entry: Entry
    net: Network
    first: Plan
    second: Plan
    once: Cut
    again: Cut
    small: Network
    names: Mapping[str, str]


def drawn(net: Network, rng: random.Random, within: Mapping[str, tuple[int, ...]], share: float) -> Plan:
    """About that share of every axis, at random; axes that must be equally long are."""
    kept: dict[str, tuple[int, ...]] = {}
    tied = {name: group for group in net.balanced for name in group}
    for axis in net.prunable:
        there = within.get(axis.name, tuple(range(axis.size)))
        partner = next((kept[name] for name in tied.get(axis.name, ()) if name in kept), None)
        count = max(1, round(share * len(there))) if partner is None else len(partner)
        kept[axis.name] = tuple(sorted(rng.sample(there, count)))
    return Plan(kept=kept)


def shaken(model: nn.Module) -> nn.Module:
    """As if it had been trained: every weight is another one."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(0.8 + 0.4 * torch.rand(tensor.shape, generator=generator))
    return model


@pytest.fixture(scope="module", params=NAMES)
def twice(request: pytest.FixtureRequest) -> Twice:
    entry, rng = ZOO[request.param], random.Random(3)
    net = trace(entry.build(), entry.inputs())
    first = drawn(net, rng, {}, 0.7)
    once = cut(net, first)
    shaken(once.model)
    small = trace(once.model, entry.inputs())
    names = same_axes(net, first, small)
    second = drawn(net, rng, first.kept, 0.6)
    left = {name: units for name, units in first.kept.items() if name not in names}  # as a round leaves them
    second = Plan(kept={**second.kept, **left})
    again = cut(trace(regrown(net, first, once.model), entry.inputs()), second)
    return Twice(entry, net, first, second, once, again, small, names)


def called(model: nn.Module, net: Network) -> Any:
    with torch.no_grad():
        return model.eval()(*net.call.args, **net.call.kwargs)


def test_what_is_cut_from_the_regrown_network_by_the_same_plan_is_the_cut_network(twice: Twice) -> None:
    whole = trace(regrown(twice.net, twice.first, twice.once.model), twice.net.call)
    same = cut(whole, twice.first).model
    mine, theirs = same.state_dict(), twice.once.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_one_cut_of_the_original_is_two_cuts_one_after_the_other(twice: Twice) -> None:
    small, names = twice.small, twice.names
    kept = {
        names[name]: tuple(twice.first.kept[name].index(unit) for unit in units)
        for name, units in twice.second.kept.items()
        if name in names
    }
    one_by_one = cut(small, Plan(kept=kept)).model
    assert apart(called(twice.again.model, twice.net), called(one_by_one, twice.net)) < 1e-5
    shapes = {name: tensor.shape for name, tensor in one_by_one.state_dict().items()}
    assert {name: tensor.shape for name, tensor in twice.again.model.state_dict().items()} == shapes


def test_every_axis_with_units_to_choose_from_is_known_again(twice: Twice) -> None:
    lost = {name for name, units in twice.first.kept.items() if name not in twice.names and len(units) > 1}
    # torch's own attention has one width for queries, keys and values; the cut one has two
    fused = twice.entry.name in ("transformer_encoder", "conformer")
    assert all(fused and name.endswith(":query-key-width") for name in lost), lost


def test_the_record_of_the_second_cut_makes_it_from_the_original(twice: Twice) -> None:
    other = redo(twice.again.record, twice.entry.build(), twice.net.call)
    other.load_state_dict(twice.again.model.state_dict())
    assert apart(called(other, twice.net), called(twice.again.model, twice.net)) == 0
