"""Reuse factors, held against hls4ml's own check and its own estimate of resources."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.devices import Hls4ml
from penjing.devices.hls.folding import BLOCK_WORDS, SHUFFLE, Folded, least_reuse

here = pytest.mark.skipif(not Hls4ml.installed(), reason="hls4ml is an extra")


def backend() -> Any:
    from hls4ml.backends import get_backend

    return get_backend("Vitis")


@here
def test_reuse_factor_is_the_least_that_hls4ml_allows_exhaustively() -> None:
    hls4ml = backend()
    for n_in in range(1, 19):
        for n_out in range(1, 13):
            valid = hls4ml.get_valid_reuse_factors(n_in, n_out)
            for multipliers in (1, 2, 3, 7, 16, 64, 500):
                enough = [one for one in valid if n_in * n_out / one <= multipliers]
                assert least_reuse(n_in, n_out, multipliers) == (enough or valid[-1:])[0]


@given(st.integers(1, 600), st.integers(1, 200), st.integers(1, 300))
def test_multipliers_are_whole_and_within_the_bound(n_in: int, n_out: int, most: int) -> None:
    folded = Folded.within(n_in, n_out, 1, most)
    assert folded.multipliers * folded.reuse_factor == n_in * n_out
    assert 1 <= folded.multipliers <= most


def test_cycles_are_those_of_the_paper_s_rule_with_hls4ml_s_own_overhead() -> None:
    assert Folded(n_in=144, n_out=16, positions=49, reuse_factor=36).cycles == 49 * (36 + 6)
    assert SHUFFLE == 6


@here
def test_hls4ml_itself_counts_as_many_cycles_a_position() -> None:
    """Given a target of cycles, it takes the reuse factor that `Folded.cycles` leads back from."""
    folded = Folded(n_in=144, n_out=16, positions=49, reuse_factor=36)
    found: dict[str, float] = {"target_cycles": folded.cycles, "out_height": 7, "out_width": 7}
    layer = SimpleNamespace(
        class_name="Conv2D",
        name="layer",
        get_attr=found.get,
        set_attr=lambda key, value: found.update({key: value}),
    )
    backend().set_target_reuse_factor(layer)
    assert found["reuse_factor"] == folded.reuse_factor


def estimator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """hls4ml's own estimator of DSPs and block RAMs.

    Its package asks Keras for a table of layers that the formulas do not read; an empty one stands there.
    """
    import hls4ml

    root = Path(str(hls4ml.__file__)).parent / "optimization" / "dsp_aware_pruning"
    name = "hls4ml.optimization.dsp_aware_pruning"
    for package in (name, f"{name}.keras", f"{name}.objectives"):
        module = ModuleType(package)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, package, module)
    table = ModuleType(f"{name}.keras.config")
    table.SUPPORTED_LAYERS = ()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, table.__name__, table)
    found = None
    for path in ("config", "attributes", "objectives", "objectives.vivado_objectives"):
        file = root / Path(*path.split(".")) if path != "objectives" else root / "objectives" / "__init__"
        spec = importlib.util.spec_from_file_location(f"{name}.{path}", file.with_suffix(".py"))
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, found)
        spec.loader.exec_module(found)
    assert found is not None
    return found.VivadoMultiObjectiveEstimator


@here
@pytest.mark.parametrize("bits", [8, 12, 16, 18])
@pytest.mark.parametrize("shape", [(9, 16), (144, 32), (784, 10), (32, 10), (288, 33)])
@pytest.mark.parametrize("multipliers", [16, 64, 10_000])
def test_multipliers_and_blocks_are_those_of_hls4ml_s_own_estimator(
    bits: int, shape: tuple[int, int], multipliers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = estimator(monkeypatch)
    folded = Folded.within(*shape, 1, multipliers)
    precision = SimpleNamespace(width=bits)
    own = SimpleNamespace(strategy="Resource", reuse_factor=folded.reuse_factor, weight_precision=precision)
    layer = SimpleNamespace(weight_shape=shape, args={"hls4ml_attributes": own})
    deep = -(-folded.reuse_factor // BLOCK_WORDS)
    assert asked.layer_resources(layer) == [folded.multipliers, folded.blocks(bits) // deep]
