"""Operators that take longer than they did are found, and no others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from penjing.devices import Cpu, NodeTime, to_onnx
from penjing.devices.slower import check_operators, said
from penjing.network import Call

OLD, NEW = Path("old.onnx"), Path("new.onnx")


@dataclass(frozen=True)
class Scripted(Cpu):
    """Times as they are written down, round by round."""

    times: dict[Path, list[dict[str, float]]] = field(default_factory=dict, compare=False)
    asked: ClassVar[list[Path]] = []

    def profile(self, artifact: Path | str, **_: object) -> list[NodeTime]:  # type: ignore[override]
        path = Path(artifact)
        round_ = self.asked.count(path)
        self.asked.append(path)
        return [NodeTime(name, "Conv", (), (), ms) for name, ms in self.times[path][round_].items()]


def scripted(old: list[dict[str, float]], new: list[dict[str, float]]) -> Scripted:
    Scripted.asked.clear()
    return Scripted(times={OLD: old, NEW: new})


def test_operator_is_slower_only_where_it_is_so_in_every_profile() -> None:
    old = [{"a": 1.0, "b": 1.0, "c": 2.0}, {"a": 1.1, "b": 1.0, "c": 2.0}, {"a": 1.0, "b": 1.0, "c": 2.2}]
    new = [{"a": 1.3, "b": 1.5, "c": 1.0}, {"a": 1.05, "b": 1.4, "c": 1.0}, {"a": 1.3, "b": 1.6, "d": 0.2}]
    found = check_operators(scripted(old, new), OLD, NEW)
    assert found is not None
    assert [(one.name, one.before_ms, one.after_ms) for one in found.slower] == [("b", 1.0, 1.4)]
    assert found.compared == 3
    assert round(found.noise, 6) == 0.1
    assert "`b` (Conv, 1 -> 1.4 ms)" in said(found)


def test_what_the_runtime_puts_in_is_counted_apart() -> None:
    old, new = [{"a": 1.0}] * 3, [{"a": 0.5, "reorder": 0.25}] * 3
    found = check_operators(scripted(old, new), OLD, NEW)
    assert found is not None
    assert not found.slower
    assert found.added_ms == 0.25
    assert said(found).startswith("no operator takes longer than in the original (1 compared")


def test_device_that_tells_no_operators_is_not_asked_further() -> None:
    assert check_operators(scripted([{}] * 3, [{}] * 3), OLD, NEW) is None


def test_convolution_that_grew_is_found_in_real_profiles(tmp_path: Path) -> None:
    def network(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 8, 3)).eval()

    call = Call((torch.randn(1, 3, 32, 32),))
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    to_onnx(network(16), call, small)
    to_onnx(network(256), call, large)
    grown, shrunk = check_operators(Cpu(), small, large, call), check_operators(Cpu(), large, small, call)
    assert grown is not None
    assert shrunk is not None
    assert [one.kind for one in grown.slower if one.kind == "Conv"] == ["Conv", "Conv"]
    assert not shrunk.slower
