"""The navigation has every page, and the reference every name."""

from __future__ import annotations

import re
from importlib import import_module

from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "penjing"


def test_navigation_has_every_page_once() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_reference_has_what_a_module_of_the_same_name_hides() -> None:
    # `::: penjing.api` finds the module `penjing.api.prune` where the function is meant, and leaves it out.
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    packages = [import_module(f"penjing.{init.parent.name}") for init in PACKAGE.glob("*/__init__.py")]
    hidden = [
        f"::: {getattr(package, name).__module__}.{name}\n"
        for package in packages
        for name in getattr(package, "__all__", ())
        if (PACKAGE / package.__name__.removeprefix("penjing.") / f"{name}.py").is_file()
    ]
    assert hidden
    assert [entry for entry in hidden if entry not in pages] == []
