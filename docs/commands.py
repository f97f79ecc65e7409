"""Writes docs/reference/commands.md from the program itself; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from penjing.cli.app import build

PAGE = Path(__file__).parent / "reference" / "commands.md"
HEAD = """# Commands

`MODEL` is `file.py:task`: a function without arguments that returns a [`pj.Task`][penjing.api.Task], or a
`Task` itself. [The tutorial](../tutorial/first-run.md) has one. `RUN` is a folder that `penjing prune -o`
or `penjing demo -o` wrote.

With `--json`, a command prints the record that it would otherwise draw, and nothing else, on the standard
output. It exits with 0 where it did its work, with 2 where it says what is wrong ([errors](errors.md)), and
with 130 where it was stopped. An option that is given several times is a list.

This page is written by `python docs/commands.py`.
"""


def page() -> str:
    """The page as the program is now."""
    program: Any = typer.main.get_command(build())
    return HEAD + "".join(_section(name, command) for name, command in program.commands.items())


def _section(name: str, command: Any) -> str:
    arguments = [given.name.upper() for given in command.params if given.param_type_name == "argument"]
    options = [
        given for given in command.params if given.param_type_name == "option" and given.name != "json"
    ]
    heading = " ".join(["penjing", name, *arguments])
    return "\n".join([f"\n## {heading}\n", command.help, *_table(options)]) + "\n"


def _table(options: list[Any]) -> Iterator[str]:
    if options:
        yield from ("", "| option | default | meaning |", "|---|---|---|")
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        usual = "" if option.default is None else f"`{option.default}`"
        default = "required" if option.required else usual
        yield f"| {names} | {default} | {option.help} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
