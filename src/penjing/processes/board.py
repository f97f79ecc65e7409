"""A small store that all processes see: who lives, who has come, who has failed."""

from __future__ import annotations

import atexit
import json
import os
import platform
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Final, NoReturn

from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from penjing.errors import PenjingError

BEAT_S: Final = 1.0
"""Seconds between two signs of life."""

LOST_S: Final = float(os.environ.get("PENJING_LOST_S", "60"))
"""Seconds without a sign of life after which a process counts as lost; at once, if it is seen to be gone."""

_PAUSE_S: Final = 0.05
_LOOK_S: Final = 0.5
_SETTLE_S: Final = 15.0


class Board:
    """The board as one process sees it; the first one holds it.

    What is exchanged is exchanged in rounds: nobody begins with a round before all have come to it. So a
    process that waits does so for as long as the others live, however long their work takes, and learns at
    once of one that has failed.
    """

    def __init__(self, store: TCPStore, rank: int, world: int) -> None:
        """Tells the others who this is."""
        self._store, self.rank, self._world = store, rank, world
        self._round = self._generation = 0
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._bodies: dict[int, tuple[str, int]] = {}
        store.set(f"body/{rank}", json.dumps([platform.node(), os.getpid()]))

    @classmethod
    def meet(cls, rank: int, world: int, gloo: Any) -> Board:
        """Sets the board up; all processes call this at the same time."""
        host = os.environ.get("MASTER_ADDR") or platform.node()
        held = TCPStore(host, 0, None, True, wait_for_workers=False) if rank == 0 else None
        where = [(host, held.port if held else 0)]
        distributed.broadcast_object_list(where, group=gloo, group_src=0)
        store = held or TCPStore(*where[0], None, False)
        beats = TCPStore(*where[0], None, False)
        threading.Thread(target=_beat, args=(beats, rank), name="penjing-beat", daemon=True).start()
        board = cls(store, rank, world)
        atexit.register(board.leave)
        return board

    def gather(self) -> None:
        """Waits until all have come.

        Raises:
            PenjingError: PJ340, one has failed; PJ341, one is lost.
            KeyboardInterrupt: one was stopped.
        """
        self._round += 1
        name = f"round/{self._generation}/{self._round}"
        try:
            self._store.set(f"{name}/{self.rank}", "")
            self._wait_for(name, [r for r in range(self._world) if r != self.rank])
            if self._round > 2:  # whoever has come to this round has left the one before
                self._store.delete_key(f"round/{self._generation}/{self._round - 2}/{self.rank}")
        except (RuntimeError, OSError) as error:
            raise lost(0, "its board is gone") from error

    def _wait_for(self, name: str, others: list[int]) -> None:
        pause, looked = 0.0005, time.monotonic()
        while not self._store.check(
            [f"{name}/{r}" for r in others]
        ):  # its own waiting writes to the terminal
            time.sleep(pause)
            pause = min(1.3 * pause, _PAUSE_S)
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                self._check_failed()
                for r in others:
                    if self.is_lost(r) and not self._store.check([f"{name}/{r}"]):
                        raise lost(r, "it gives no sign of life")

    def _check_failed(self) -> None:
        key = f"failed/{self._generation}"
        if not self._store.check([key]):
            return
        told = json.loads(self._store.get(key))
        if told["rank"] != self.rank:
            _raise(told)

    def is_lost(self, rank: int) -> bool:
        """Whether a process is gone, or has been silent for too long."""
        if rank not in self._bodies and self._store.check([f"body/{rank}"]):
            node, pid = json.loads(self._store.get(f"body/{rank}"))
            self._bodies[rank] = node, pid
        node, pid = self._bodies.get(rank, ("", 0))
        if node == platform.node() and not _lives(pid):
            return True
        key, now = f"beat/{rank}", time.monotonic()
        beat = self._store.get(key) if self._store.check([key]) else b""
        former = self._seen.get(rank)
        if former is None or former[0] != beat:
            self._seen[rank] = beat, now
            return False
        return now - former[1] > LOST_S

    def gone(self, seconds: float) -> PenjingError | None:
        """An error that names a process which is lost, where one is found to be within so many seconds."""
        end = time.monotonic() + seconds
        while True:
            try:
                for r in range(self._world):
                    if r != self.rank and self.is_lost(r):
                        return lost(r, "its process is gone")
            except (RuntimeError, OSError):
                return lost(0, "its board is gone")
            if time.monotonic() >= end:
                return None
            time.sleep(0.1)

    def leave(self) -> None:
        """At the end of the process: who holds the board waits a little until others have read."""
        with suppress(RuntimeError, OSError):
            self._store.set(f"left/{self.rank}", "")
            if self.rank == 0:
                self._wait_until_all("left")

    def tell_failure(self, record: dict[str, Any]) -> None:
        """Tells the others that this process has failed, and waits a little until they have ended, too."""
        generation = self._generation
        self._generation, self._round = generation + 1, 0
        try:
            key = f"failed/{generation}"
            if not self._store.check([key]):
                self._store.set(key, json.dumps({"rank": self.rank, **record}))
            self._store.set(f"ended/{generation}/{self.rank}", "")
            self._wait_until_all(f"ended/{generation}")
        except (RuntimeError, OSError):
            return  # whoever held the board is gone already

    def _wait_until_all(self, name: str) -> None:
        """A little while, until all others that live have left a note of that name."""
        end = time.monotonic() + _SETTLE_S
        left = [r for r in range(self._world) if r != self.rank]
        while left and time.monotonic() < end:
            left = [r for r in left if not self._store.check([f"{name}/{r}"]) and not self.is_lost(r)]
            time.sleep(0.02)


def lost(rank: int, because: str) -> PenjingError:
    """That a process is lost."""
    return PenjingError(
        "PJ341",
        f"the process of rank {rank} is lost: the others end, too",
        because=because,
        tries=["start again: a run with a directory goes on where it was, with any number of processes"],
    )


def _raise(told: dict[str, Any]) -> NoReturn:
    """What another process has told of its end."""
    if told["stopped"]:
        raise KeyboardInterrupt(told["what"])
    raise PenjingError(
        "PJ340",
        f"rank {told['rank']} has failed: {told['what']}",
        because=told["because"],
        path=told["path"],
        tries=told["tries"],
    )


def _beat(store: TCPStore, rank: int) -> None:
    number = 0
    while True:
        try:
            store.set(f"beat/{rank}", str(number))
        except (RuntimeError, OSError):
            return
        number += 1
        time.sleep(BEAT_S)


def _lives(pid: int) -> bool:
    """Whether there is such a process on this machine; a child that nobody asks after any more is none."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except ProcessLookupError:
        return False
    except OSError:  # no rights, or no /proc
        return True
