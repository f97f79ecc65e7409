"""Progress on the terminal, and events for the log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    TimeRemainingColumn,
)

from penjing.recover import Watch

STAGES: Final = ("trace", "score", "plan", "surgery", "recover", "measure")
"""The parts of a job, by the names under which a report gives their wall time."""


class Log(Watch):
    """Writes events as JSON lines, and draws progress where the error stream is a terminal."""

    def __init__(
        self,
        events: TextIO,
        *,
        console: Console | None = None,
        since: float = 0.0,
        others: Sequence[Watch] = (),
    ) -> None:
        """Draws on `console`; by default on the error stream.

        `since` seconds have gone before. `others` are told of every event, too.
        """
        self._events, self._others = events, list(others)
        self._console = console or Console(file=sys.stderr)
        self._start = time.perf_counter() - since
        self._progress: Progress | None = None
        self._spent: dict[str, float] = {}
        self._open: list[tuple[str, float]] = []

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time by stage, that of a stage that is not over yet included."""
        found = dict(self._spent)
        for name, start in self._open:
            found[name] = found.get(name, 0.0) + time.perf_counter() - start
        return found

    def spent_before(self, seconds: Mapping[str, float]) -> None:
        """Adds what an earlier process of the same run took, by stage."""
        for name, spent in seconds.items():
            self._spent[name] = self._spent.get(name, 0.0) + spent

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """A named part of the job, one of `STAGES`; its wall time adds to `seconds`."""
        assert name in STAGES, name
        self._open.append((name, time.perf_counter()))
        try:
            self.event("stage", name=name)
            with self.track(what):
                yield
        finally:
            _, start = self._open.pop()
            self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - start

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
                MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"), console=self._console, transient=True,
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
        """One line of the log: seconds since the beginning, the name, the figures.

        One of the others that fails is told of nothing more; it does not end the job.
        """
        line = {"seconds": round(time.perf_counter() - self._start, 3), "event": kind, **figures}
        self._events.write(json.dumps(line) + "\n")
        self._events.flush()
        for other in list(self._others):
            try:
                other.event(kind, **figures)
            except Exception as error:  # a server that is down, a user's own class
                self._others.remove(other)
                self._lost(other, error)

    def close(self) -> None:
        """Closes the others."""
        others, self._others = self._others, []
        for other in others:
            try:
                other.close()
            except Exception as error:  # as above
                self._lost(other, error)

    def _lost(self, other: Watch, error: Exception) -> None:
        name, why = type(other).__name__, f"{type(error).__name__}: {error}"
        self._console.print(f"{name} fails, and is told no more of this job: {why}", markup=False)
        self.event("log_failed", log=name, because=why)
