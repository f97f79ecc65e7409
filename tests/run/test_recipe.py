from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penjing.run.recipe import to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT)
VALUE = st.one_of(PLAIN, st.lists(PLAIN), st.dictionaries(TEXT, PLAIN))
TABLE = st.dictionaries(TEXT, VALUE)


@given(st.dictionaries(TEXT, st.one_of(VALUE, TABLE)))
def test_recipe_survives_toml(values: dict[str, Any]) -> None:
    written = {name: value for name, value in values.items() if value != {}}
    assert tomllib.loads(to_toml(written)) == written


def test_recipe_is_readable() -> None:
    values = {"model": "task.py:task", "budget": ["latency=0.5x"], "seed": 0, "keep": None,
              "recover": {"epochs": 3, "lr": 0.001}}  # fmt: skip
    assert to_toml(values) == (
        'model = "task.py:task"\nbudget = ["latency=0.5x"]\nseed = 0\n\n[recover]\nepochs = 3\nlr = 0.001\n'
    )
