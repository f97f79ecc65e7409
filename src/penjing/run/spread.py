"""Independent pieces of work on all cores, by copies of this process."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def room_for(each: int) -> int:
    """How many times so many bytes are free, in memory and in the container's share; 0 where nobody tells."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
    return int(min(free, _granted()) // max(1, each))


def _granted(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that a control group (version 2) leaves to its processes."""
    try:
        most = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return math.inf
    return math.inf if most == "max" else max(0, int(most) - used)


def spread(
    function: Callable[[T], R], items: Sequence[T], *, workers: int, patience_s: float
) -> Iterator[tuple[int, R]]:
    """Does what it can of `items` in copies of this process, one thread each.

    Copies need not be told of models, which may be of classes that no other process could import. They are
    made on Linux alone. Whatever is not yielded in the end is left to the caller: a copy can fail, be killed
    for want of memory, or hang on a lock that another thread held when it was made.

    Args:
        function: what it returns has to survive pickling.
        items: what to call it with, each alone.
        workers: how many copies, at most; below two, nothing is done.
        patience_s: seconds without a result after which the copies are given up.

    Yields:
        The place of an item and its result, as they come.
    """
    workers = min(workers, len(items))
    if workers < 2 or not sys.platform.startswith("linux") or torch.cuda.is_initialized():
        return
    if multiprocessing.current_process().daemon:  # of a pool: it may have no children
        return
    copies: dict[Connection, BaseProcess] = {}
    try:
        for first in range(workers):
            with contextlib.suppress(OSError):  # no more processes, or no memory for one
                end, process = _copied(function, items, range(first, len(items), workers), [*copies])
                copies[end] = process
        left = set(copies)
        while left and (ready := wait(list(left), timeout=patience_s)):
            for end in (one for one in ready if isinstance(one, Connection)):
                try:
                    result = end.recv()
                except Exception:  # it has ended, perhaps in the middle of a result
                    left.discard(end)
                else:
                    yield result
    finally:
        for end, process in copies.items():
            process.kill()
            process.join()
            end.close()


def _copied(
    function: Callable[[T], R], items: Sequence[T], own: Sequence[int], others: Sequence[Connection]
) -> tuple[Connection, BaseProcess]:
    """A copy that does the items of these places, and where its results arrive; `others` are of others."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    work = (function, items, own, there, [here, *others])
    process = context.Process(target=_work, args=work, daemon=True)
    with warnings.catch_warnings():  # of threads, by Python and JAX: what comes of them is left to the caller
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            process.start()
        except OSError:
            here.close()
            raise
        finally:
            there.close()
    return here, process


def _work(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    own: Sequence[int],
    end: Connection,
    readers: Sequence[Connection],
) -> None:
    """What a copy does. It ends with its items, or where nobody reads the results any more."""
    for reader in readers:  # a copy that holds them never sees that nobody reads any more
        reader.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process is asked, and ends its copies
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    for place in own:
        try:
            result = function(items[place])
        except Exception:  # it is tried again where its error can be read
            continue
        end.send((place, result))
