"""A job's place on disk: a run directory that survives, or a temporary folder that does not."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from penjing.errors import PenjingError
from penjing.run.directory import (
    check_target,
    is_finished,
    is_unfinished,
    open_permissions,
    room,
    staging,
    standing,
    unwritable,
)
from penjing.run.events import EVENTS, appended, read
from penjing.run.identity import differences, identity
from penjing.run.job import Job
from penjing.run.journal import STEPS, Journal
from penjing.run.lock import locked
from penjing.run.progress import Log
from penjing.run.recipe import recipe_of
from penjing.run.room import check_room

RECIPE: Final = "recipe.toml"
JOB: Final = "job"


@dataclass(frozen=True)
class Session:
    """Where a job is being worked on.

    Attributes:
        job: as given; what it was begun with goes before what is said of it now.
        journal: of what was done.
        log: of what happens.
        identity: what makes it the same job, for the manifest; empty for a temporary folder.
    """

    job: Job
    journal: Journal
    log: Log
    identity: dict[str, Any]


@contextmanager
def temporary(job: Job) -> Iterator[Session]:
    """A folder that is removed where the work fails or is stopped; else it is the caller's to remove.

    Raises:
        PenjingError: PJ602, there is no room.
    """
    folder = staging()
    way_out = "set TMPDIR to a folder that you may write, on a disk with space left"
    try:
        check_room(job, folder, lasting=False, way_out=way_out)
        with stoppable(), room(), appended(folder) as events, closing(Log(events, others=job.log)) as log:
            yield Session(job, Journal(folder, log, seed=job.seed, durable=False), log, {})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def lasting(job: Job, folder: Path) -> Iterator[Session]:
    """A run directory: a new one, or one in which the same job goes on.

    A job that is refused before it has found a plan leaves no new directory behind.

    Raises:
        PenjingError: PJ601, there is something else; PJ602, no room, now or on the way; PJ609, another
            process is at work there; PJ610, it was begun with another recipe, model or data.
        KeyboardInterrupt: the user stopped it, or the system asked it to end; says how to go on.
    """
    now = identity(job)
    fresh = not is_unfinished(folder)
    if fresh:
        _create(job, folder)
    with _told_how_to_go_on(job, folder), locked(folder), stoppable(), appended(folder) as events:
        if is_finished(folder):
            raise PenjingError("PJ609", f"another process has just finished the run in `{folder}`")
        since = max((event.get("seconds", 0.0) for event in read(folder)), default=0.0)
        log = Log(events, since=since, others=job.log)
        journal: Journal | None = None
        try:
            log.event("begin", pid=os.getpid(), host=platform.node())
            journal = Journal(folder, log, seed=job.seed)
            before = dict(journal.once(JOB, lambda _: now).record)
            check_same(folder, before, now)
            yield Session(replace(job, why=before["why"]), journal, log, before)
        except PenjingError as error:
            if error.code in ("PJ602", "PJ610"):
                raise
            if fresh and not any(name.endswith("plan") for name in journal or ()):
                shutil.rmtree(folder, ignore_errors=True)
                raise
            way_out = f"once that is mended, {how_to_go_on(job, folder)}"
            raise _with_tries(error, [*error.tries, way_out]) from error
        except KeyboardInterrupt:
            with suppress(OSError):
                log.event("stopped")
            raise KeyboardInterrupt(f"stopped: {how_to_go_on(job, folder)}") from None
        finally:
            log.close()


def how_to_go_on(job: Job, folder: Path) -> str:
    """What to tell somebody whose run is not finished."""
    if ":" in job.source or job.source == "penjing demo":
        return f"`penjing resume {folder}` goes on from here"
    return f'the same pj.prune(..., directory="{folder}") goes on from here'


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, a polite request to end (SIGTERM) is as if the user had pressed Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.getsignal(signal.SIGTERM)
    if former is not signal.SIG_DFL:  # the program has its own way
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _create(job: Job, folder: Path) -> None:
    """A run in which nothing was done yet, with its recipe: there as a whole, or not at all."""
    check_target(folder)
    partial: Path | None = None
    try:
        check_room(job, standing(folder), lasting=True, way_out="name a folder on another disk")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        (partial / RECIPE).write_text(recipe_of(job), encoding="utf-8")
        (partial / EVENTS).touch()
        (partial / STEPS).mkdir()
        open_permissions(partial)
        partial.replace(folder)
    except OSError as error:
        if is_unfinished(folder):  # another process was quicker by a moment: it is told apart by its lock
            return
        raise unwritable(folder, error) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _told_how_to_go_on(job: Job, folder: Path) -> Iterator[None]:
    """Where the disk is full on the way, it says that nothing is lost."""
    tries = [f"make room; then {how_to_go_on(job, folder)}"]
    try:
        with room(folder):
            yield
    except PenjingError as error:
        if error.code != "PJ602":
            raise
        raise _with_tries(error, tries) from error


def _with_tries(error: PenjingError, tries: Sequence[str]) -> PenjingError:
    """The same error with other ways out."""
    return PenjingError(error.code, error.what, because=error.because, path=error.path, tries=tries)


def check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Makes sure that the run in a folder is that of a job.

    Raises:
        PenjingError: PJ610, it is that of another; says in what they differ.
    """
    found = differences(before, now)
    if found:
        raise PenjingError(
            "PJ610",
            f"`{folder}` holds a run that was begun otherwise",
            because="\n".join(["it was (-), and is to be (+)", *found]),
            tries=["the same recipe, model and data as then", "another directory for another run"],
        )
