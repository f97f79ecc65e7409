"""Run directories: checked before any work, written in one step after it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from penjing.errors import PenjingError
from penjing.run.sealed import file_hash, manifest_of

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


def check_target(directory: Path | str) -> Path:
    """Makes sure that a run can be written to `directory`, and leaves nothing there.

    Args:
        directory: does not exist yet, or is empty.

    Raises:
        PenjingError: PJ601, it is a file or holds something; PJ602, it cannot be written.
    """
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise PenjingError("PJ601", f"`{target}` is a file", tries=["name a folder that does not exist yet"])
    try:
        if target.is_dir() and any(target.iterdir()):
            raise PenjingError(
                "PJ601",
                f"`{target}` is not empty",
                because="a run is never written over what is there",
                tries=["name a folder that does not exist yet", f"remove `{target}` first"],
            )
        above = standing(target)
        # Permission bits do not tell it all (read-only mounts, full disks, the superuser): a folder does.
        Path(tempfile.mkdtemp(prefix=".penjing-", dir=above)).rmdir()
    except OSError as error:
        raise unwritable(target, error) from error
    return target


def publish(staged: Path, directory: Path | str) -> Path:
    """Copies a finished run to `directory` so that it is there whole, or not at all.

    Raises:
        PenjingError: PJ601, PJ602, as `check_target`; PJ602, the copy fails.
    """
    target = check_target(directory)
    partial: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        shutil.copytree(staged, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        open_permissions(partial)
        os.replace(partial, target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def staging() -> Path:
    """A new folder in which a run is prepared.

    Raises:
        PenjingError: PJ602, there is no place for temporary files.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="penjing-"))
    except OSError as error:
        raise _no_room(error) from error


@contextmanager
def room(directory: Path | None = None) -> Iterator[None]:
    """For work that writes to `directory`, or temporary files.

    Raises:
        PenjingError: PJ602, the disk has no room for them.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise  # the user's own code reads files, too
        raise (_no_room(error) if directory is None else unwritable(directory, error)) from error


def is_unfinished(directory: Path | str) -> bool:
    """Whether a run was begun there and has not come to its end."""
    found = Path(directory)
    return (found / "steps").is_dir() and not is_finished(found)


def is_finished(directory: Path | str) -> bool:
    """Whether a run came to its end there."""
    return manifest_of(Path(directory)) is not None


def opened(directory: Path | str, *needed: str) -> Path:
    """The directory of a finished run.

    Raises:
        PenjingError: PJ603, it is none, or lacks one of the files `needed`; PJ606, one of them was
            changed; PJ608, the run is not finished.
    """
    found = Path(directory)
    if is_unfinished(found):
        raise PenjingError(
            "PJ608",
            f"the run in `{found}` is not finished",
            because="it was stopped on the way, or is still going on",
            tries=[f"penjing resume {found}"],
        )
    missing = [name for name in needed if not (found / name).is_file()]
    if missing:
        because = f"it holds no {missing[0]}" if found.is_dir() else "there is no such folder"
        raise PenjingError(
            "PJ603",
            f"`{found}` is no run",
            because=because,
            tries=["name a folder that `penjing prune -o` wrote"],
        )
    hashes = (manifest_of(found) or {"files": {}})["files"]
    for name in needed:
        if name in hashes and file_hash(found / name) != hashes[name]:
            raise PenjingError(
                "PJ606",
                f"`{found / name}` is damaged",
                because="it is not what the run wrote: its hash is not that in manifest.json",
            )
    return found


def standing(target: Path) -> Path:
    """The nearest folder at or above `target` that exists.

    Raises:
        OSError: it is a file.
    """
    absolute = target.absolute()
    found = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not found.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(found))
    return found


def open_permissions(folder: Path) -> None:
    """Those of any new folder: temporary ones are for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)


def _no_room(error: OSError) -> PenjingError:
    return PenjingError(
        "PJ602",
        "a run cannot be prepared: its temporary files cannot be written",
        because=f"{error.strerror or error}: {error.filename}" if error.filename else str(error),
        tries=["make room", "set TMPDIR to a folder that you may write, on a disk with space left"],
    )


def unwritable(target: Path, error: OSError) -> PenjingError:
    """That a run cannot be written to `target`."""
    return PenjingError(
        "PJ602",
        f"`{target}` cannot be written",
        because=f"{error.strerror or error}: {error.filename}" if error.filename else str(error),
        tries=["name a folder that you may write, on a disk with space left"],
    )
