"""Code blocks of Markdown pages, run as a reader would run them: one after another, in one folder.

| block | what is done with it |
|---|---|
| `python` | run, in one namespace per page |
| `python title="x.py"` | written to the file `x.py` |
| `console` | commands behind `$` are run: `penjing ...` and `python x.py` |
| `text` behind one of these | is what it printed; what a console shows below a command, likewise |
| titled otherwise, such as `title="One run"` | neither run nor compared: figures of one machine |
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from penjing.cli import main

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: of the fence.
        title: of the fence; "" without one.
        text: its content.
        line: of the page on which the content begins, from 1.
    """

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(_FENCE.findall(text)), f"{page}: a fence is not understood"
    return [
        Block(match[1], match[2] or "", match[3], text.count("\n", 0, match.start(3)) + 1)
        for match in _FENCE.finditer(text)
    ]


def pages() -> list[Path]:
    """Every page that holds code to run."""
    every = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in every if any(block.language in ("python", "console") for block in blocks(page))]


class Reader:
    """Reads a page, and does what it says in the current folder."""

    def __init__(self, page: Path, *, given: str = "", instead: dict[str, str] | None = None) -> None:
        """Takes a page.

        Args:
            page: to read.
            given: code that the page takes for granted, run before it.
            instead: text of its code -> what is run in its place.
        """
        self._page, self._instead = page, instead or {}
        # A module of its own, since dataclasses look their annotations up in the module they are defined in.
        self.module = types.ModuleType(re.sub(r"\W", "_", page.stem))
        exec(compile(given, "<given>", "exec"), self.module.__dict__)

    def read(self) -> int:
        """Runs every block, and compares what it prints.

        Returns:
            How many blocks were run.
        """
        done = 0
        sys.modules[self.module.__name__] = self.module
        try:
            for block, after in pairwise([*blocks(self._page), Block("", "", "", 0)]):
                if block.language == "python" and block.title.endswith(".py"):
                    Path(block.title).write_text(block.text, encoding="utf-8")
                elif block.language == "python" and not block.title:
                    printed = self._run(block)
                    if after.language == "text" and not after.title:
                        _compare(self._page, after, printed, after.text)
                elif block.language == "console" and not block.title:
                    for command, shown in _commands(block.text):
                        printed = _command(command, refused=shown.startswith("[PJ"))
                        if shown:
                            _compare(self._page, block, printed, shown)
                else:
                    continue
                done += 1
        finally:
            del sys.modules[self.module.__name__]
        return done

    def _run(self, block: Block) -> str:
        """What the block prints; its code stands in tracebacks at its line of the page."""
        text = block.text
        for old, new in self._instead.items():
            text = text.replace(old, new)
        code = compile("\n" * (block.line - 1) + text, str(self._page), "exec")
        with _printed() as printed:
            exec(code, self.module.__dict__)
        return printed.getvalue()


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, and what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.replace("\\\n", "").partition("\n")
        yield command, shown


def _command(command: str, *, refused: bool) -> str:
    """What one command prints, run in this process; whether it does its work must be as expected."""
    program, *arguments = shlex.split(command)
    with _printed() as printed:
        if program == "penjing":
            code = main(arguments)
            assert code == (2 if refused else 0), f"{command} exits with {code}:\n{printed.getvalue()}"
        else:
            assert program == "python", command
            runpy.run_path(arguments[0], run_name="__main__")
    return printed.getvalue()


@contextlib.contextmanager
def _printed() -> Iterator[io.StringIO]:
    """What is printed inside, errors too."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        yield printed


def _compare(page: Path, block: Block, printed: str, shown: str) -> None:
    found, expected = ([line.rstrip() for line in text.strip("\n").splitlines()] for text in (printed, shown))
    assert found == expected, f"{page}:{block.line} shows something else than is printed:\n{printed}"
