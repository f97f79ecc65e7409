from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import penjing as pj
from penjing.run import loop


def judged(monkeypatch: pytest.MonkeyPatch, verdicts: Iterator[bool]) -> list[bool]:
    """Timings that fail are rare: here they are made to."""
    seen: list[bool] = []

    def inside(*_: object) -> bool:
        seen.append(next(verdicts))
        return seen[-1]

    monkeypatch.setattr(loop, "_inside", inside)
    return seen


def pruned() -> pj.Result:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    return pj.prune(model, torch.randn(2, 8), budget="params=0.5x")


def test_run_takes_another_turn_when_the_finished_network_is_measured_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Outside when first timed, and in the middle of three timings; then inside.
    seen = judged(monkeypatch, iter([False, False, True, True]))
    assert pruned().report.budget[0].met
    assert seen == [False, False, True, True]


def test_run_says_so_when_no_turn_is_measured_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = judged(monkeypatch, iter([False] * 100))
    monkeypatch.setattr(loop, "_too_noisy", lambda *_: pj.PenjingError("PJ511", "noise"))
    with pytest.raises(pj.PenjingError, match="PJ511"):
        pruned()
    assert len(seen) == 2 * len(loop.TURNS)
