"""What commands print: a record as JSON, or a drawing of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of drawing it.")]


def print_record(record: Any) -> None:
    """Writes `record` as JSON to the standard output."""
    sys.stdout.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def draw(*parts: RenderableType) -> None:
    """Draws on the standard output; nothing is cut off where that is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for part in parts:
        console.print(part)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Table:
    """A plain table; its first `left` columns are text, the others figures."""
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        found.add_column(heading, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        found.add_row(*row)
    return found
