"""What a run has done so far, step by step on disk: each is done once, then read back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from penjing.network.seeding import seeded
from penjing.recover import Checkpoint
from penjing.run.checkpoint import Kept
from penjing.run.progress import Log
from penjing.run.sealed import file_hash, read_manifest, seal

STEPS: Final = "steps"
CHECKPOINTS: Final = "checkpoints"
WORK: Final = "work"
RECORD: Final = "record.json"
_FOLDER: Final = re.compile(r"(\d{3,})-(.+)")


@dataclass(frozen=True)
class Entry:
    """A step that was done.

    Attributes:
        record: what it came to, as plain JSON values.
        folder: where the files that it wrote stand; not to be written to.
    """

    record: Mapping[str, Any]
    folder: Path


class Journal:
    """The steps of one run, in the order in which they were done.

    Each is a folder `steps/NNN-name`, prepared elsewhere and renamed when it is whole. Its manifest holds the
    hash of every file, and that of the manifest before it: a step that is damaged takes everything after it
    along, since that was built on it.
    """

    def __init__(self, folder: Path, log: Log, *, seed: int = 0, durable: bool = True) -> None:
        """Reads what there is; steps that are damaged, and all after them, are removed.

        Args:
            folder: of the run; only one process may write to it.
            log: told of every step; its times go on from those of the last one.
            seed: random numbers inside of every step follow from it.
            durable: what is done must survive a loss of power; else it need not survive this process.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder, self.work = folder, folder / WORK
        self._log, self._seed, self.durable = log, seed, durable
        self._steps: dict[str, Path] = {}
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        (folder / STEPS).mkdir(exist_ok=True)
        self._last = ""
        for number, path in enumerate(self._found()):
            manifest = read_manifest(path)
            match = _FOLDER.fullmatch(path.name)
            sound = manifest is not None and manifest.get("after") == self._last
            if not (sound and match and int(match[1]) == number):
                self._log.event("damaged", step=path.name)
                self._remove(number)
                break
            self._steps[match[2]] = path
            self._last = file_hash(path / "manifest.json")
        if self._steps:
            self._log.spent_before(self._whole(next(reversed(self._steps.values())))["seconds"])

    def __contains__(self, name: str) -> bool:
        return name in self._steps

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def once(self, name: str, compute: Callable[[Path], Mapping[str, Any]], *, given: Any = None) -> Entry:
        """Does a step, or reads back what it came to when it was done.

        Args:
            name: unique in the run.
            compute: does it; may write files to the folder that it is given, and returns plain JSON values.
                Random numbers inside it follow from the journal's seed.
            given: plain JSON values that the step depends on; where it was done from others, it and all that
                came after it are done again.

        Raises:
            OSError: there is no room, for instance; the step is as if it had never begun.
        """
        wanted = json.loads(json.dumps(given))
        if name in self._steps:
            whole = self._whole(self._steps[name])
            if whole["given"] == wanted:
                return Entry(whole["record"], self._steps[name])
            self._log.event("outdated", step=name)
            self.discard(name)
        draft = self.work / name
        draft.mkdir()
        try:
            with seeded(self._seed):
                record = dict(compute(draft))
            target = self.folder / STEPS / f"{len(self._steps):03d}-{name}"  # other steps may be done inside
            whole = {"name": name, "given": wanted, "seconds": self._log.seconds, "record": record}
            (draft / RECORD).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
            self._last = seal(draft, target, durable=self.durable, after=self._last)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        self._steps[name] = target
        self._log.event("done", step=target.name)
        shutil.rmtree(self._checkpoints(name), ignore_errors=True)
        return Entry(self._whole(target)["record"], target)

    def checkpoint(self, name: str) -> Checkpoint:
        """Where the step of that name keeps its progress until it is done; nowhere, if nobody can go on."""
        return Kept(self._checkpoints(name)) if self.durable else Checkpoint()

    def discard(self, name: str) -> None:
        """Forgets a step and everything that came after it."""
        names = list(self._steps)
        self._remove(names.index(name))
        for gone in names[names.index(name) :]:
            del self._steps[gone]
        last = next(reversed(self._steps.values()), None)
        self._last = file_hash(last / "manifest.json") if last else ""

    def close(self) -> None:
        """Removes everything: the run is finished, or given up."""
        for name in (CHECKPOINTS, WORK, STEPS):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted((self.folder / STEPS).iterdir(), key=lambda path: (len(path.name.split("-")[0]), path))

    def _remove(self, number: int) -> None:
        """From the last to the first, so that what is left after a stop in the middle is a beginning."""
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)  # of a step that began from what goes
        for path in reversed(self._found()[number:]):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _checkpoints(self, name: str) -> Path:
        return self.folder / CHECKPOINTS / name

    @staticmethod
    def _whole(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
        return found
