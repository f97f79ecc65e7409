"""Every block of Python in README.md and docs/ runs, and prints what the page says it prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.docs.pages import ROOT, Reader, pages

# What README.md leaves to the reader.
OWN_MODEL = """
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

def model_factory():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))

model = model_factory()
example_inputs = torch.randn(1, 1, 8, 8)
loader = [(torch.randn(16, 1, 8, 8), torch.randint(4, (16,))) for _ in range(4)]
calibration_batches = loader[:2]
loss_fn = lambda outputs, batch: F.cross_entropy(outputs, batch[1])
accuracy_fn = lambda model: float((model(loader[0][0]).argmax(1) == loader[0][1]).float().mean())
"""
OPTIONS: dict[str, dict[str, Any]] = {
    # Half the latency takes half a minute to find, and tests/api does so; here it is half the operations.
    "README.md": {"given": OWN_MODEL, "instead": {'budget="latency=0.5x"': 'budget="macs=0.5x"'}},
}


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, whose Python files can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", pages(), ids=named)
def test_page_runs_as_it_stands(page: Path, folder: Path) -> None:
    options = OPTIONS.get(named(page), {})
    with torch.random.fork_rng():
        assert Reader(page, **options).read() >= 1


def test_pages_with_code_are_found() -> None:
    found = {named(page) for page in pages()}
    assert {"README.md", "docs/how-to/add-a-rule.md", "docs/how-to/add-a-criterion.md"} <= found


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_what_stands_in_for_code_of_a_page_is_still_in_it(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert all(old in text for old in OPTIONS[name]["instead"])


def reader(folder: Path, text: str, **options: Any) -> Reader:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return Reader(page, **options)


def test_blocks_of_a_page_share_their_names_and_files(folder: Path) -> None:
    text = '```python title="own.py"\nprint("run")\nx = 2\n```\n```console\n$ python own.py\nrun\n```\n'
    text += "```python\nfrom own import x\n```\n```python\nprint(x + y)\n```\n```text\nrun\n```\n"
    with pytest.raises(AssertionError, match="is printed"):
        reader(folder, text, given="y = 3").read()
    assert reader(folder, text.replace("```text\nrun", "```text\n5"), given="y = 3").read() == 4


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert False\n```\n",
        "```python\nprint(1)\n```\n```text\n2\n```\n",
        "```console\n$ penjing criteria\nnothing\n```\n",
        "```console\n$ penjing report nowhere\n```\n",
        "```console\n$ penjing criteria\n[PJ301] there is no criterion\n```\n",
        "```console\n$ rm -r x\n```\n",
        "```python\nno end",
    ],
)
def test_page_that_is_not_true_is_noticed(folder: Path, text: str) -> None:
    with pytest.raises(AssertionError):
        reader(folder, text).read()


def test_one_run_of_one_machine_is_not_repeated(folder: Path) -> None:
    text = '```console title="One run"\n$ rm -r x\n```\n```python title="One run"\nassert False\n```\n'
    assert reader(folder, text).read() == 0
