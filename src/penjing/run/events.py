"""The log of a run: lines are only ever added, by every process that worked on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, TextIO

EVENTS: Final = "events.jsonl"


def appended(folder: Path) -> TextIO:
    """The log, open for what comes next; a last line that was cut off in the middle is taken away.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / EVENTS
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    return path.open("a", encoding="utf-8")


def read(folder: Path) -> list[dict[str, Any]]:
    """All events so far, in order; lines that are no records are passed over."""
    try:
        lines = (folder / EVENTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def last_event(folder: Path, kind: str) -> dict[str, Any] | None:
    """The last event of a kind; None where there is none."""
    return next((event for event in reversed(read(folder)) if event.get("event") == kind), None)
