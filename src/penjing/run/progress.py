"""Progress on the terminal, and events for the log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from penjing.recover import Watch

STAGES: Final = ("trace", "score", "plan", "surgery", "recover", "measure")
"""The parts of a job, by the names under which a report gives their wall time."""


class Log(Watch):
    """Writes events as JSON lines, and draws progress where the error stream is a terminal.

    Attributes:
        seconds: wall time by stage.
    """

    def __init__(self, events: TextIO, *, console: Console | None = None) -> None:
        """Draws on `console`; by default on the error stream."""
        self._events = events
        self._console = console or Console(file=sys.stderr)
        self._start = time.perf_counter()
        self._progress: Progress | None = None
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """A named part of the job, one of `STAGES`; its wall time adds to `seconds`."""
        assert name in STAGES, name
        start = time.perf_counter()
        self.event("stage", name=name)
        try:
            with self.track(what):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def track(self, what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        """Draws one line while the work lasts; lines of work within it stand below."""
        if not self._console.is_terminal:
            yield lambda **figures: None
            return
        outermost = self._progress is None
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24),
                MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[figures]}"),
                console=self._console, transient=True,
            )  # fmt: skip
            self._progress.start()
        progress = self._progress
        task = progress.add_task(what, total=total, figures="")

        def advance(**figures: float) -> None:
            shown = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            progress.update(task, advance=1, figures=shown)

        try:
            yield advance
        finally:
            progress.remove_task(task)
            if outermost:
                progress.stop()
                self._progress = None

    def event(self, kind: str, /, **figures: Any) -> None:
        """One line of the log: seconds since the beginning, the name, the figures."""
        line = {"seconds": round(time.perf_counter() - self._start, 3), "event": kind, **figures}
        self._events.write(json.dumps(line) + "\n")
        self._events.flush()
