"""For every model of the zoo: half of every prunable axis removed, by magnitude and at random."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from penjing.run.state import load_state, save_state
from penjing.surgery import redo
from tests.equivalence.half import HOWS, Halved, apart, expected, halve, prunable, run, survivors
from tests.zoo.entry import Entry
from tests.zoo.registry import ENTRIES

# ATen says once per process that it runs an LSTM with projections by its plain implementation.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

FALLBACK = frozenset({"transformer_decoder_mask_inspected", "early_exit", "hf_mixtral_eager"})
"""Models whose own code cannot follow a cut: the rewritten graph is returned, and says why."""

CASES = [(entry, how) for entry in ENTRIES for how in HOWS]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def halved(request: pytest.FixtureRequest) -> Halved:
    return halve(*request.param)


def test_zoo_keeps_the_users_module_in_nine_of_ten_models() -> None:
    assert len(FALLBACK) <= 0.1 * len(ENTRIES)


def test_half_cut_is_proven_against_the_masked_original(halved: Halved) -> None:
    proof = halved.cut.proof
    assert proof.passed
    assert proof.dtype == "float64"
    assert proof.max_error <= 1e-10


def test_half_cut_keeps_the_users_module(halved: Halved) -> None:
    if halved.entry.name in FALLBACK:
        assert halved.cut.fallback
    else:
        assert halved.cut.fallback is None
        assert type(halved.cut.model) is type(halved.net.model)


def test_half_cut_leaves_exactly_the_kept_slices_of_every_parameter(halved: Halved) -> None:
    axes = prunable(halved.net)
    assert axes, "nothing to prune"
    assert all(len(halved.plan.kept[axis.name]) < axis.size for axis in axes if axis.size > 1)
    before = dict(halved.net.model.named_parameters(remove_duplicate=False))
    after = dict(halved.cut.model.named_parameters(remove_duplicate=False))
    stay = survivors(halved.net, halved.plan)
    assert any(name in stay for name in before)
    for name, parameter in after.items():
        want = expected(before[name], stay.get(name, {}))
        assert parameter.shape == want.shape, name
        assert torch.equal(parameter, want), name
    if halved.cut.fallback is None:
        assert list(after) == list(before)
        assert sum(p.numel() for p in halved.cut.model.parameters()) == halved.net.parameters_at(
            halved.plan.counts()
        )


def test_half_cut_leaves_the_original_as_it_was(halved: Halved) -> None:
    fresh = halved.entry.build()
    state = halved.net.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in fresh.state_dict().items())
    assert all(
        torch.equal(a, b)
        for a, b in zip(run(halved.net.model, halved.inputs), run(fresh, halved.inputs), strict=True)
    )


def test_half_cut_gives_every_kept_parameter_its_gradient(halved: Halved) -> None:
    before = gradients(deepcopy(halved.net.model), halved.entry)
    after = gradients(deepcopy(halved.cut.model), halved.entry)
    assert after
    shared = before.keys() & dict(halved.cut.model.named_parameters(remove_duplicate=False)).keys()
    assert shared
    missing = {name for name in shared if before[name] and not after.get(name)}
    assert not missing


def test_half_cut_trains_in_training_mode(halved: Halved) -> None:
    before = gradients(deepcopy(halved.net.model).train(), halved.entry)
    after = gradients(deepcopy(halved.cut.model).train(), halved.entry)
    assert not {name for name in before.keys() & after.keys() if before[name] and not after[name]}


def gradients(model: nn.Module, entry: Entry) -> dict[str, bool]:
    """Whether each parameter has a finite gradient after one backward pass."""
    torch.manual_seed(0)
    model.zero_grad(set_to_none=True)
    real = [t for t in run(model, entry.inputs()) if t.is_floating_point() and t.requires_grad]
    torch.stack([t.square().mean() for t in real]).sum().backward()
    named = model.named_parameters(remove_duplicate=False)
    return {
        name: p.grad is not None and bool(p.grad.isfinite().all()) for name, p in named if p.requires_grad
    }


def test_half_cut_is_bit_exact_after_save_and_load(halved: Halved, tmp_path: Path) -> None:
    save_state(halved.cut.model, tmp_path / "model.safetensors")
    record = json.loads(json.dumps(halved.cut.record))
    loaded = redo(record, halved.entry.build(), halved.inputs if halved.cut.fallback else None)
    scramble(loaded)
    with torch.no_grad():
        once, before = run(halved.cut.model, halved.inputs), run(loaded.eval(), halved.inputs)
        load_state(loaded, tmp_path / "model.safetensors")
        again = run(loaded, halved.inputs)
    assert not all(torch.equal(one, other) for one, other in zip(once, before, strict=True))
    for one, other in zip(once, again, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def scramble(model: nn.Module) -> None:
    """Other values in everything that a file must bring back, so that only the file can have brought them."""
    generator = torch.Generator().manual_seed(7)
    for _, tensor in saved(model):
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.25)


def saved(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in model.state_dict().items() if isinstance(value, Tensor)]


ONNX_QUICK = frozenset(
    {"resnet_bottleneck", "shufflenet_v2", "swin", "lstm_classifier", "mini_llama", "hf_bert"}
)
"""Models whose export is checked in every run; the others' in the nightly one, for it takes seconds each."""


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(e, id=str(e), marks=() if e.name in ONNX_QUICK else pytest.mark.slow)
        for e in ENTRIES
        if e.onnx
    ],
)
@pytest.mark.parametrize("how", HOWS)
def test_half_cut_agrees_with_its_onnx_export(entry: Entry, how: str, tmp_path: Path) -> None:
    from tests.equivalence.onnx_run import run_onnx

    halved = halve(entry, how)  # type: ignore[arg-type]
    with torch.no_grad():
        wanted = run(halved.cut.model, halved.inputs)
    assert apart(run_onnx(halved.cut.model, entry.inputs(), tmp_path / "model.onnx"), wanted) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("entry", [e for e in ENTRIES if not e.onnx], ids=str)
def test_entry_marked_without_onnx_really_has_none(entry: Entry, tmp_path: Path) -> None:
    from tests.equivalence.onnx_run import run_onnx

    with pytest.raises(Exception, match=r"(?s)."):
        run_onnx(entry.build(), entry.inputs(), tmp_path / "model.onnx")
