"""Writes docs/reference/operators.md from the table of rules; a test compares the two."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from penjing.network import RULES
from penjing.network.op import Rule

PAGE = Path(__file__).parent / "reference" / "operators.md"
HEAD = """# Operators

What penjing knows of each operator: how the dimensions of its tensors are tied. The signature of a rule is
written in index notation: one letter or name is one axis, `*b` any number of them, `g*o` a product, `n+m` a
sum, `?` an argument that may be absent. Every overload, and the in-place form, go by the plain name; `aten.`
goes without saying.

An operator that is not on this page is **opaque**: what touches it is frozen, `penjing inspect` lists it, and
nothing is cut on a guess. [Add a rule](../how-to/add-a-rule.md) for it. Each line is held against the
operator itself by `penjing.testing.check_rule`.

This page is written by `python docs/operators.py`.
"""


def page() -> str:
    """The page as the table of rules has it now."""
    entries = sorted(RULES.items(), key=lambda entry: _module(entry[1]))
    return HEAD + "".join(
        _family(module, [*group]) for module, group in groupby(entries, lambda entry: _module(entry[1]))
    )


def _family(module: str, entries: list[tuple[str, Rule]]) -> str:
    title = (inspect.getdoc(sys.modules[module]) or "").splitlines()[0].rstrip(".")
    return "".join([f"\n## {title}\n\n| operators | rule |\n|---|---|\n", *_lines(entries)])


def _lines(entries: list[tuple[str, Rule]]) -> Iterator[str]:
    by_rule: dict[str, list[str]] = {}
    for name, rule in entries:
        signature = (inspect.getdoc(rule) or "").splitlines()[0].rstrip(".").replace("|", "\\|")
        by_rule.setdefault(signature, []).append(f"`{name.removeprefix('aten.')}`")
    for signature, names in by_rule.items():
        yield f"| {', '.join(names)} | {signature.replace('*', chr(92) + '*')} |\n"


def _module(rule: Rule) -> str:
    return rule.__module__


if __name__ == "__main__":
    PAGE.write_text(page())
