"""Every entry of the zoo is a working model, the same each time, and exports as its flags say."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tests.zoo.entry import Entry, Inputs
from tests.zoo.models.hf import HF_ENTRIES
from tests.zoo.registry import CONVOLUTIONAL, ENTRIES, OTHERS, SIGNALS, TRANSFORMERS

# ATen says once per process that it runs an LSTM with projections by its plain implementation.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=str)


def call(model: nn.Module, inputs: Inputs) -> Any:
    with torch.no_grad():
        return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The tensors that the model returns, those of unregistered dataclasses too."""
    leaves = tree_leaves(call(model, inputs))
    leaves = [t for leaf in leaves for t in (vars(leaf).values() if is_dataclass(leaf) else [leaf])]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def test_zoo_names_are_unique() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)


def test_zoo_has_as_many_models_as_it_promises() -> None:
    assert len(CONVOLUTIONAL + SIGNALS + TRANSFORMERS + OTHERS) >= 45
    assert len(HF_ENTRIES) >= 18


@every_entry
def test_entry_runs_and_its_outputs_are_finite(entry: Entry) -> None:
    model = entry.build()
    assert not model.training
    found = outputs(model, entry.inputs())
    assert found
    assert all(torch.isfinite(t).all() for t in found)


@every_entry
def test_entry_is_small(entry: Entry) -> None:
    assert 0 < sum(p.numel() for p in entry.build().parameters()) < 2_000_000


@every_entry
def test_entry_is_the_same_model_each_time_and_leaves_the_global_seed_alone(entry: Entry) -> None:
    torch.manual_seed(1)
    first, first_inputs = entry.build(), entry.inputs()
    drawn = torch.rand(())
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(()))
    second, second_inputs = entry.build(), entry.inputs()
    states = first.state_dict(), second.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    for one, other in zip(outputs(first, first_inputs), outputs(second, second_inputs), strict=True):
        assert torch.equal(one, other)


@every_entry
def test_entry_holds_no_tensor_of_zeros_or_ones_that_would_hide_a_wrong_cut(entry: Entry) -> None:
    for name, parameter in entry.build().named_parameters():
        if parameter.numel() > 1 and parameter.requires_grad:
            assert parameter.std() > 0, name


@every_entry
def test_entry_exports_unless_it_is_marked_refused(entry: Entry) -> None:
    model, inputs = entry.build(), entry.inputs()
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    if entry.refused:
        with pytest.raises(Exception, match=r"data-dependent|register a pytree|Unsupported|Dynamo"):
            torch.export.export(model, args, kwargs, strict=False)
        return
    exported = torch.export.export(model, args, kwargs, strict=False)
    assert any(node.op == "call_function" for node in exported.graph.nodes)
