"""GPT-2, whose layers have their inputs first, and whose table of words is its last layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import penjing as pj
from penjing.compress.masks import Columns, Rows, masks_of

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=48, n_positions=12, n_embd=16, n_layer=2, n_head=2, use_cache=False,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


TOKENS = {"input_ids": torch.arange(24).view(2, 12)}
DATA = [
    {"input_ids": torch.randint(48, (2, 12), generator=torch.Generator().manual_seed(i))} for i in range(3)
]


@pytest.mark.parametrize("criterion", ["magnitude", "wanda", "sparsegpt"])
def test_two_of_four_inputs_stay_where_inputs_come_first(model: Any, criterion: str) -> None:
    found = pj.sparsify(model, TOKENS, pattern="2:4", criterion=criterion, data=DATA)
    names = [
        f"transformer.h.{i}.{n}.weight"
        for i in range(2)
        for n in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    assert sorted(found.masks) == sorted(names)
    for mask in found.masks.values():
        assert bool((mask.T.reshape(-1, 4).sum(1) == 2).all())  # along the inputs, the first dimension
    notes = {one.name: one.note for one in found.record.layers}
    assert "looked up" in notes["transformer.wte.weight"]
    assert masks_of(found.model) == found.masks
    assert bool(found.model(**TOKENS).logits.isfinite().all())


def test_rows_are_outputs_and_columns_inputs_wherever_they_lie(model: Any) -> None:
    name = "transformer.h.0.mlp.c_fc.weight"
    rows = pj.sparsify(model, pattern=Rows(), sparsity=0.5, scope="layer", only=[name]).masks[name]
    columns = pj.sparsify(model, pattern=Columns(), sparsity=0.5, scope="layer", only=[name]).masks[name]
    assert rows.shape == (16, 64)
    assert bool((rows == rows[:1]).all())
    assert bool((columns == columns[:, :1]).all())
