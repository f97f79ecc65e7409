"""The pages about rules: their code runs, and the list of operators is that of the table."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def test_how_to_add_a_rule_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "how-to" / "add-a-rule.md").read_text(), re.DOTALL)
    scope: dict[str, Any] = {"__name__": "how_to_add_a_rule"}
    for block in blocks:
        exec(compile(block, "add-a-rule.md", "exec"), scope)
    assert len(blocks) >= 5


def test_list_of_operators_is_that_of_the_table() -> None:
    script = runpy.run_path(str(DOCS / "operators.py"))
    assert script["PAGE"].read_text() == script["page"](), "run: python docs/operators.py"
