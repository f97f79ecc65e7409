"""The page of the docs that lists the zoo; writing it anew takes minutes, comparing names does not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.equivalence.test_zoo import FALLBACK
from tests.zoo.registry import ENTRIES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "zoo.md"


def test_page_lists_every_model_and_says_which_need_the_graph() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (own|graph) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert [name for name, _ in rows] == [entry.name for entry in ENTRIES], "run: python docs/zoo.py"
    assert {name for name, form in rows if form == "graph"} == FALLBACK
