"""Folders that are there whole or not at all, with a hash of every file in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "manifest.json"
_BLOCK: Final = 2**20


def seal(draft: Path, target: Path, *, durable: bool = True, **about: Any) -> str:
    """Gives a finished folder its manifest, and its name as the last thing.

    Args:
        draft: on the same disk as `target`; no file is written to it afterwards.
        target: does not exist.
        durable: wait until the disk has it all, so that it survives a loss of power too.
        about: plain JSON values to be written in the manifest.

    Returns:
        The hash of the manifest, and so of everything.

    Raises:
        OSError: it cannot be written.
    """
    write_manifest(draft, hashes(draft), durable=durable, **about)
    if durable:
        for path in (*draft.rglob("*"), draft):
            synchronise(path)
    draft.replace(target)
    if durable:
        synchronise(target.parent)
    return file_hash(target / MANIFEST)


def write_manifest(folder: Path, files: Mapping[str, str], *, durable: bool = True, **about: Any) -> None:
    """Writes the manifest of `folder` in one step.

    Raises:
        OSError: it cannot be written.
    """
    content = json.dumps({"schema": 1, **about, "files": dict(files)}, indent=1) + "\n"
    write_whole(folder / MANIFEST, content, durable=durable)


def write_whole(path: Path, content: str, *, durable: bool = True) -> None:
    """Replaces a text file in one step.

    Raises:
        OSError: it cannot be written; the former one stands.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(content, encoding="utf-8")
        if durable:
            synchronise(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        synchronise(path.parent)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder all of whose files are as they were sealed; None where one is not."""
    manifest = manifest_of(folder)
    if manifest is None:
        return None
    try:
        sound = hashes(folder) == manifest["files"]
    except OSError:
        return None
    return manifest if sound else None


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, whatever became of its other files; None where it has none, or half a one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    sound = isinstance(manifest, dict) and isinstance(manifest.get("files"), dict)
    return manifest if sound else None


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but its own manifest, by its path in it.

    Raises:
        OSError: one cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def file_hash(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def take(source: Path, target: Path) -> None:
    """The same file at another place of the same run, where the disk can without a copy.

    Raises:
        OSError: it cannot be written.
    """
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # the disk knows no links
        shutil.copyfile(source, target)


def synchronise(path: Path) -> None:
    """Waits until the disk has a file's content, or a folder's names."""
    if path.is_dir() and os.name != "posix":
        return  # elsewhere folders cannot be opened, and need not
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
