"""Pages that a script writes are as the script writes them now."""

from __future__ import annotations

import runpy

import pytest

from tests.docs.pages import ROOT


@pytest.mark.parametrize("name", ["commands", "operators"])
def test_page_is_as_its_script_writes_it(name: str) -> None:
    script = runpy.run_path(str(ROOT / "docs" / f"{name}.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), f"run: python docs/{name}.py"
