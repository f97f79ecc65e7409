"""What a kept profile is of: anything that may change a time changes the name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.api import profile
from penjing.run.subject import subject
from tests.api.models import patterns, small

X = torch.randn(2, 3)


class Scaled(nn.Module):
    """A layer and a plain number that its code uses."""

    def __init__(self, times: Any = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 4)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.times


def test_same_model_has_the_same_name_and_every_difference_another() -> None:
    base = subject(Scaled(), X)
    assert base is not None
    assert subject(Scaled(), X.clone()) == base
    other = Scaled()
    with torch.no_grad():
        other.layer.weight[0, 0] += 1
    names = [
        subject(Scaled(3), X),
        subject(other, X),
        subject(Scaled().eval(), X),
        subject(Scaled(), torch.randn(4, 3)),
        subject(nn.Sequential(Scaled()), X),
        subject(Scaled([1, "a", {"b": (2.0, None)}]), X),
        subject(Scaled(torch.tensor(2)), X),
    ]
    assert None not in names
    assert len({base, *names}) == len(names) + 1


def test_what_cannot_be_told_apart_is_not_kept() -> None:
    assert subject(Scaled(object()), X) is None
    assert subject(Scaled(lambda: 2), X) is None
    hooked = Scaled()
    hooked.register_forward_hook(lambda *_: None)
    assert subject(hooked, X) is None
    patched = Scaled()
    patched.forward = lambda x: x  # type: ignore[method-assign]
    assert subject(patched, X) is None


def test_changed_source_is_another_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    text = "from torch import nn\nclass Mine(nn.Linear):\n    pass\n"
    (tmp_path / "mine_of_test.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("mine_of_test")
    torch.manual_seed(0)
    made = module.Mine(3, 4)
    before = subject(made, X)
    assert before is not None
    (tmp_path / "mine_of_test.py").write_text(text + "# changed\n")
    assert subject(made, X) not in (before, None)


@pytest.mark.slow
def test_profile_is_measured_once_and_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setenv("PENJING_CACHE", str(tmp_path))
    module = sys.modules["penjing.run.profile"]
    asked = []
    real = module._profiled  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "_profiled", lambda *given: asked.append(given) or real(*given))
    inputs = patterns(1)[0][0][:1]
    first = profile(small(), inputs)
    assert profile(small(), inputs) == first
    assert len(asked) == 1
    assert first["operators"]
    profile(small(), inputs, fresh=True)
    assert len(asked) == 2
