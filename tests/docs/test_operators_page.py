"""The list of operators is that of the table."""

from __future__ import annotations

import runpy

from tests.docs.pages import ROOT


def test_list_of_operators_is_that_of_the_table() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "operators.py"))
    assert script["PAGE"].read_text() == script["page"](), "run: python docs/operators.py"
