"""Models of the zoo, cut to half of their units by what the units are worth, and reconstructed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from penjing.criteria import Obs
from penjing.criteria.statistics import collect
from penjing.network import Network, trace
from penjing.plan import Plan
from penjing.recover import Reconstruct, RecoveryRecord, Situation
from penjing.recover.deviation import deviation
from penjing.surgery import cut
from tests.equivalence.half import choose, prunable, run
from tests.zoo.entry import Entry
from tests.zoo.registry import ENTRIES

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

QUICK = frozenset(
    {
        "vit",
        "hf_bert",
        "hf_gpt2",
        "convnext",
        "mobilenet_v2",
        "densenet",
        "efficientnet",
        "lstm_classifier",
    }
)
"""Tried in every run; the others in the nightly one."""

LEFT = frozenset({"autoencoder_tied", "spectral_critic"})
"""Models of which no weight can be solved: all are shared, or computed from others."""


def varied(inputs: Any, seed: int) -> Any:
    """Other inputs like these: noise on real numbers, other whole numbers in the same bounds."""
    generator = torch.Generator().manual_seed(seed)

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dtype == torch.bool or leaf.numel() < 2:
            return leaf
        if leaf.is_floating_point():
            noise = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
            return leaf + leaf.std().nan_to_num(0.0) * noise
        low, high = int(leaf.min()), int(leaf.max())
        return torch.randint(low, high + 1, leaf.shape, generator=generator, dtype=leaf.dtype)

    return pytree.tree_map(one, inputs)


def worth_most(net: Network, data: list[Any]) -> Plan:
    statistics = collect(net, {"grams"}, data=data, loss=None)
    counts = {name: len(units) for name, units in choose(net, "random").items()}
    kept = {}
    for axis in prunable(net):
        worth = Obs().worth(axis, statistics)
        assert bool(worth.isfinite().all()), axis.name
        assert bool((worth >= 0).all()), axis.name
        order = worth.argsort(descending=True, stable=True).tolist()
        kept[axis.name] = tuple(sorted(order[: counts[axis.name]]))
    return Plan(kept=kept)


def reconstructed(entry: Entry) -> tuple[RecoveryRecord, float]:
    """The record, and the deviation that is found afterwards."""
    net = trace(entry.build().eval(), entry.inputs())
    data = [varied(entry.inputs(), seed) for seed in range(4)]
    plan = worth_most(net, data)
    model = cut(net, plan).model
    record = Reconstruct().apply(model, Situation(net.model, calibration=data, net=net, plan=plan))
    with torch.no_grad():
        outputs = [tensor for tensor in run(model.eval(), entry.inputs()) if tensor.is_floating_point()]
    wanted = run(net.model.eval(), entry.inputs())
    assert all(bool(one.isfinite().all()) for one in outputs) or not all(
        bool(one.isfinite().all()) for one in wanted if one.is_floating_point()
    )
    return record, deviation(model, net.model, data)


@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, id=str(e), marks=() if e.name in QUICK else pytest.mark.slow) for e in ENTRIES],
)
def test_half_of_a_network_is_nearer_to_the_original_once_it_is_reconstructed(entry: Entry) -> None:
    record, after = reconstructed(entry)
    before = record.options["deviation_before"]
    taken_back = any(note.startswith("taken back") for note in record.notes)
    assert after <= (math.inf if before is None else before)
    if entry.name in LEFT:
        assert record.options["layers"] == 0
        assert any(note.startswith("left as they are") for note in record.notes)
    elif not taken_back:
        assert after < (math.inf if before is None else before)
        assert after == pytest.approx(record.options["deviation_after"], rel=1e-3, abs=1e-9)
    if entry.name in QUICK:
        assert not taken_back


def test_quick_models_are_of_the_zoo() -> None:
    names = {entry.name for entry in ENTRIES}
    assert names >= QUICK
    assert names >= LEFT
