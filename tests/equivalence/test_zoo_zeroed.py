"""The cut models of the zoo against their originals with zeros where units are gone."""

from __future__ import annotations

import pytest
import torch

from tests.equivalence.half import apart, prunable, traced
from tests.equivalence.zeroed import READ_ACROSS, halve_across_weights, is_read_across, run_as, zeroed
from tests.zoo.entry import Entry
from tests.zoo.registry import ENTRIES

NORMED_THROUGHOUT = frozenset({"resnet_groupnorm", "convnext_v2", "gmlp", "standardised"})
"""Models none of whose axes escapes a norm: zeroing says nothing about them."""

SINGLE = frozenset(
    {"unet_diffusion", "actor_critic", "hf_gptj", "hf_mixtral", "hf_mixtral_eager", "hf_qwen2_moe"}
)
"""Models whose own code casts to float32, or has operators for no wider type: compared in it, to 1e-5."""


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name not in NORMED_THROUGHOUT], ids=str)
def test_half_cut_equals_the_original_with_the_same_units_zeroed(entry: Entry) -> None:
    halved = halve_across_weights(entry)
    assert any(len(halved.plan.kept[axis.name]) < axis.size for axis in prunable(halved.net))
    dtype, tolerance = (torch.float32, 1e-5) if entry.name in SINGLE else (torch.float64, 1e-10)
    after = run_as(dtype, halved.cut.model, entry.inputs())
    assert apart(after, run_as(dtype, zeroed(halved), entry.inputs())) <= tolerance


@pytest.mark.parametrize("name", sorted(NORMED_THROUGHOUT))
def test_model_listed_as_normed_throughout_really_is(name: str) -> None:
    entry = next(entry for entry in ENTRIES if entry.name == name)
    net = traced(entry)
    assert all(is_read_across(entry, net, axis) for axis in prunable(net))


@pytest.mark.parametrize(("name", "part"), sorted(READ_ACROSS))
def test_axes_listed_as_read_across_exist(name: str, part: str) -> None:
    net = traced(next(entry for entry in ENTRIES if entry.name == name))
    assert any(part in axis.name for axis in prunable(net))
