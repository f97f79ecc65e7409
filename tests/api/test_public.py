"""The public names: what they are, that they load when used, and that each says what it does."""

from __future__ import annotations

import importlib
import inspect

import pytest

import penjing

NAMES = [
    "BatchNorm",
    "Blockwise", "Budget", "Comparison", "FineTune", "HuggingFace", "Iterative", "Lightning", "Loop",
    "MLflow", "PenjingError", "Plan", "Reconstruct", "Result", "Sensitivity", "Synthetic", "Task",
    "TensorBoard",
    "compare_criteria", "compress", "criteria", "devices", "load", "load_sparse", "prune", "sensitivity",
    "sparsify", "to_sparse", "trace",
]  # fmt: skip


def test_public_names_are_these() -> None:
    assert sorted(penjing.__all__) == NAMES
    assert set(NAMES) <= set(dir(penjing))


@pytest.mark.parametrize("name", NAMES)
def test_public_name_loads_and_says_what_it_is(name: str) -> None:
    found = getattr(penjing, name)
    assert inspect.getdoc(found)
    assert found is getattr(importlib.import_module("penjing"), name)


def test_public_names_are_no_others() -> None:
    with pytest.raises(AttributeError, match="no attribute `prun`"):
        penjing.prun  # noqa: B018
