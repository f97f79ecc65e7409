"""The code of docs/how-to/add-a-criterion.md runs, block after block."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from penjing import criteria

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-criterion.md"


def blocks() -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )


def test_how_to_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # A module of its own, since dataclasses look their annotations up in the module that they are defined in.
    module = types.ModuleType("add_a_criterion")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert len(blocks()) == 4
    for block in blocks():
        exec(compile(block, str(PAGE), "exec"), module.__dict__)
    assert issubclass(module.__dict__["Saturated"], criteria.WeightCriterion)
