"""A cut model of `transformers` survives `save_pretrained` and `from_pretrained` bit for bit.

`from_pretrained` builds the module anew from what its configuration says. Most configurations have one word
for the width of queries, keys and values, and take the scale of attention from it: neither width can be cut
alone, nor both without changing the scale. So most models are asked for fewer heads, each as wide as before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import penjing.network
import penjing.plan.plan
import penjing.surgery
from penjing.errors import PenjingError
from tests.zoo.entry import Entry
from tests.zoo.models.hf import HF_ENTRIES
from tests.zoo.models.hf_build import Alone

_ENCODER = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
_GROUPED = _ENCODER | {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
_SEQ2SEQ = {
    "d_model": 16,
    "encoder_ffn_dim": 24,
    "encoder_attention_heads": 2,
    "decoder_ffn_dim": 20,
    "decoder_attention_heads": 2,
}

EVERY_AXIS: dict[str, dict[str, Any]] = {
    "hf_t5_gated": {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 2},
    "hf_mamba": {"hidden_size": 16, "state_size": 4, "time_step_rank": 2},
    "hf_convnext": {"hidden_sizes": [4, 8, 12, 16]},
    "hf_resnet": {"embedding_size": 4, "hidden_sizes": [8, 16, 24, 32]},
}
"""Models with a word for every axis, and what the configuration says once all are halved."""

FEWER_HEADS: dict[str, dict[str, Any]] = {
    "hf_bert": _ENCODER,
    "hf_distilbert": {"dim": 16, "hidden_dim": 24, "n_heads": 2},
    "hf_roberta": _ENCODER,
    "hf_deberta": _ENCODER | {"pooler_hidden_size": 16},
    "hf_deberta_v2": _ENCODER | {"pooler_hidden_size": 16},
    "hf_albert": _ENCODER | {"embedding_size": 8},
    "hf_electra": _ENCODER | {"embedding_size": 8},
    "hf_gpt2": {"n_embd": 16, "n_head": 2},
    "hf_gpt_neox": _ENCODER,
    "hf_opt": {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24, "num_attention_heads": 2},
    "hf_llama": _GROUPED,
    "hf_qwen2": _GROUPED,
    "hf_qwen3": _GROUPED,
    "hf_mistral": _GROUPED,
    "hf_phi": _ENCODER | {"num_key_value_heads": 2},
    "hf_falcon": {"hidden_size": 16, "num_attention_heads": 2},
    "hf_mixtral": _GROUPED,
    "hf_vit": _ENCODER,
    "hf_beit": _ENCODER,
    "hf_swin": {"embed_dim": 8, "num_heads": [1, 2]},
    "hf_bart_logits": _SEQ2SEQ,
    "hf_whisper_logits": _SEQ2SEQ,
    "hf_whisper_classifier": {"d_model": 16, "encoder_attention_heads": 2, "classifier_proj_size": 6},
    "hf_clip_logits": {
        "projection_dim": 8,
        "text_config.hidden_size": 16,
        "text_config.num_attention_heads": 2,
        "vision_config.hidden_size": 16,
        "vision_config.num_attention_heads": 2,
    },
}
"""Models with attention, and what the configuration says once all but the width of heads is halved."""

FROZEN_WIDTHS = frozenset({"hf_falcon"})
"""Models whose heads have one width for queries, keys and values, which rotary embedding freezes."""

ENTRIES = {entry.name: entry for entry in HF_ENTRIES}


@pytest.mark.parametrize("name", EVERY_AXIS)
def test_checkpoint_reproduces_the_cut_model_when_every_axis_is_halved(name: str, tmp_path: Path) -> None:
    entry = ENTRIES[name]
    net = penjing.network.trace(entry.build(), entry.inputs())

    cut = _halve(net, (axis for axis in net.axes if axis.frozen is None))

    assert _said(cut, EVERY_AXIS[name]) == EVERY_AXIS[name]
    _assert_same(entry, cut, _reloaded(cut, tmp_path))


@pytest.mark.parametrize("name", FEWER_HEADS)
def test_checkpoint_reproduces_the_cut_model_when_heads_keep_their_width(name: str, tmp_path: Path) -> None:
    entry = ENTRIES[name]
    net = penjing.network.trace(entry.build(), entry.inputs())
    widths = _widths_of_heads(net)
    assert bool(widths) != (name in FROZEN_WIDTHS)

    cut = _halve(net, (axis for axis in net.axes if axis.frozen is None and axis.name not in widths))

    assert _said(cut, FEWER_HEADS[name]) == FEWER_HEADS[name]
    _assert_same(entry, cut, _reloaded(cut, tmp_path))


@pytest.mark.parametrize("name", ["hf_bert", "hf_gpt2", "hf_opt", "hf_vit", "hf_bart_logits"])
def test_checkpoint_is_refused_rather_than_another_function_when_heads_are_narrower(
    name: str, tmp_path: Path
) -> None:
    """All shapes fit the halved configuration, but the scale of attention that it implies is another one."""
    entry = ENTRIES[name]
    net = penjing.network.trace(entry.build(), entry.inputs())
    around = _axes_around(net, _widths_of_heads(net))

    cut = _halve(net, (axis for axis in net.axes if axis.frozen is None and axis.name not in around))

    try:
        loaded = _reloaded(cut, tmp_path)
    except (RuntimeError, ValueError):
        return
    _assert_same(entry, cut, loaded)


@pytest.mark.parametrize("name", ["hf_bert", "hf_llama", "hf_gpt2"])
def test_checkpoint_is_refused_rather_than_another_function_when_layers_differ(
    name: str, tmp_path: Path
) -> None:
    """One layer's neurons are cut and the other's are not: the configuration has one word for both."""
    entry = ENTRIES[name]
    net = penjing.network.trace(entry.build(), entry.inputs())
    neurons = [axis for axis in net.axes if axis.frozen is None and axis.size in (48, 128)]
    assert len(neurons) == 2

    cut = _halve(net, neurons[:1])

    try:
        loaded = _reloaded(cut, tmp_path)
    except (RuntimeError, ValueError):
        return
    _assert_same(entry, cut, loaded)


@pytest.mark.parametrize("name", ["hf_bert", "hf_gpt2", "hf_llama"])
def test_checkpoint_is_not_written_when_a_branch_is_gone(name: str, tmp_path: Path) -> None:
    """`from_pretrained` would make it anew, of random numbers, with no more than a warning."""
    entry = next(entry for entry in HF_ENTRIES if entry.name == name)
    net = penjing.network.trace(entry.build(), entry.inputs())
    plan = penjing.plan.plan.Plan(dropped=(net.branches[0].name,))
    found = penjing.surgery.cut(net, plan)
    assert found.fallback is None
    for model in (found.model, penjing.surgery.redo(found.record, entry.build()), deepcopy(found.model)):
        with pytest.raises(PenjingError, match="PJ210"):
            _pretrained(model).save_pretrained(tmp_path)
    assert not [*tmp_path.iterdir()]


def _halve(net: penjing.network.Network, axes: Iterable[penjing.network.Axis]) -> nn.Module:
    """Keeps every other unit of each axis, from the second on, so that leading slices are the wrong ones."""
    kept = {axis.name: tuple(range(1, axis.size, 2)) or (0,) for axis in axes}
    plan = penjing.plan.plan.Plan(kept=kept, dropped=())
    cut = penjing.surgery.cut(net, plan)
    assert cut.fallback is None
    small = cut.model
    assert sum(parameter.numel() for parameter in small.parameters()) == net.parameters_at(plan.counts())
    return small


def _pretrained(model: nn.Module) -> Any:
    return model.model if isinstance(model, Alone) else model


def _said(model: nn.Module, words: Iterable[str]) -> dict[str, Any]:
    """What the configuration says under each of `words`, lists for tuples."""
    said = {word: reduce(getattr, word.split("."), _pretrained(model).config) for word in words}
    return {word: list(value) if isinstance(value, tuple) else value for word, value in said.items()}


def _reloaded(model: nn.Module, folder: Path) -> nn.Module:
    inner = _pretrained(model)
    inner.save_pretrained(folder)
    loaded: nn.Module = type(inner).from_pretrained(folder).eval()
    return Alone(loaded, model.output) if isinstance(model, Alone) else loaded


def _assert_same(entry: Entry, model: nn.Module, loaded: nn.Module) -> None:
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    # How kernels round may depend on where weights lie in memory, and on some processors it does.
    for ours, theirs in zip(_outputs(entry, model), _outputs(entry, loaded), strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def _outputs(entry: Entry, model: nn.Module) -> list[Tensor]:
    inputs = entry.inputs()
    with torch.no_grad():
        outputs = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def _columns(net: penjing.network.Network) -> dict[tuple[str, int], dict[str, tuple[int, ...]]]:
    """(tensor, dimension) -> prunable axis -> the unit at each index; two axes at one index are a product."""
    columns: dict[tuple[str, int], dict[str, tuple[int, ...]]] = defaultdict(dict)
    for axis in net.axes:
        if axis.frozen is None and axis.size > 1:
            for member in axis.members:
                columns[member.tensor, member.dim][axis.name] = member.units
    return columns


def _widths_of_heads(net: penjing.network.Network) -> set[str]:
    """Axes that are the fastest factor of a product with another prunable axis."""
    return {
        inner
        for column in _columns(net).values()
        for inner, units in column.items()
        for outer, around in column.items()
        if inner != outer and _runs_within(units, around)
    }


def _axes_around(net: penjing.network.Network, widths: set[str]) -> set[str]:
    """Prunable axes that share some dimension's indices with one of `widths`."""
    return {
        outer
        for column in _columns(net).values()
        for inner in widths & column.keys()
        for outer, around in column.items()
        if outer not in widths and _runs_within(column[inner], around)
    }


def _runs_within(inner: tuple[int, ...], outer: tuple[int, ...]) -> bool:
    """Whether `inner` changes at every step inside one unit of `outer`, and there are such steps."""
    steps = [
        (before, after)
        for (before, after), (here, there) in zip(pairwise(inner), pairwise(outer), strict=True)
        if here == there >= 0 and before >= 0 and after >= 0
    ]
    return bool(steps) and all(before != after for before, after in steps)
