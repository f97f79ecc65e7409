"""Where a set of images may be found, and the search for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penjing.datasets.download import fetch
from penjing.datasets.images import LabelledImages, Split, file_names, located, read_folder
from penjing.errors import PenjingError

#: Where Debian's dataset packages put their files, one folder a set.
SYSTEM_FOLDER = Path("/usr/share/datasets")


@dataclass(frozen=True)
class Source:
    """A set of images that can be found or fetched.

    Attributes:
        name: of the set, and of its folder under `PENJING_DATA`, the system's folder and the cache.
        addresses: folders on the net that hold the files, the official one first; each ends with a slash.
        sha256: checksum of each file's content, unpacked, by the name of the packed file.
    """

    name: str
    addresses: tuple[str, ...]
    sha256: Mapping[str, str]


def obtain(source: Source, root: Path | str | None, split: Split) -> LabelledImages:
    """Reads one part of a set from `root`, or from the first place that has it.

    The places are, in this order: `$PENJING_DATA/<name>`, `/usr/share/datasets/<name>` (Debian's
    `dataset-<name>`), and the cache (`$PENJING_CACHE`, else `~/.cache/penjing`), into which the missing files
    are downloaded.

    Args:
        source: the set.
        root: a folder with the files; no other place is tried.
        split: "train" or "test".

    Raises:
        PenjingError: PJ352 and PJ353 if it can be found nowhere; otherwise as `read_folder`.
    """
    names = file_names(split)
    if root is not None:
        return read_folder(root, split)
    for folder in _installed(source.name):
        if all(located(folder, name) for name in names):
            return read_folder(folder, split)
    folder = cache_folder() / source.name
    for name in names:
        if located(folder, name) is None:
            fetch([address + name for address in source.addresses], source.sha256[name], folder / name)
    return read_folder(folder, split)


def cache_folder() -> Path:
    """Where downloaded sets are kept, one folder each."""
    chosen = os.environ.get("PENJING_CACHE")
    if chosen:
        return Path(chosen) / "datasets"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penjing/datasets"


def _installed(name: str) -> list[Path]:
    """The folders in which a set may already be, whether or not it is."""
    chosen = os.environ.get("PENJING_DATA")
    if chosen and not Path(chosen).is_dir():
        raise PenjingError(
            "PJ354", f"PENJING_DATA names no folder: `{chosen}`", tries=("unset PENJING_DATA",)
        )
    return [Path(chosen) / name, SYSTEM_FOLDER / name] if chosen else [SYSTEM_FOLDER / name]
