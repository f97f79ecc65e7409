"""One process to a run directory."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from penjing.errors import PenjingError
from penjing.run.events import last_event

LOCK: Final = ".lock"
_ORPHANS_S: Final = 20.0
"""Seconds in which workers of a process that was killed notice it: until then they hold what it held."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder of a run; the system lets go of it when the process ends, however it does.

    Raises:
        PenjingError: PJ609, another process holds it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = _holder(folder)
        try:
            if pid is None or _alive(pid):
                raise
            lock.acquire(timeout=_ORPHANS_S)
        except Timeout:
            raise PenjingError(
                "PJ609",
                f"another process is at work in `{folder}`",
                because="" if pid is None else f"it is process {pid}",
                tries=["wait until it is done", *([] if pid is None else [f"stop it: kill {pid}"])],
            ) from None
    try:
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> int | None:
    """The process that began to work in the folder last, where it was one of this machine."""
    begun = last_event(folder, "begin")
    if begun is None or begun.get("host") != platform.node():
        return None
    return int(begun["pid"])


def _alive(pid: int) -> bool:
    """Whether there is such a process; taken for granted where asking would end it."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
