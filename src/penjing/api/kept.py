"""Records in files."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from penjing.errors import PenjingError


def written(record: BaseModel, path: Path | str) -> Path:
    """Writes a record as JSON; `model_validate_json` of its class reads it.

    Raises:
        PenjingError: PJ602, it cannot be written.
    """
    path = Path(path)
    try:
        path.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise PenjingError("PJ602", f"`{path}` cannot be written", because=str(error)) from error
    return path


def check_place(path: Path | None) -> None:
    """Makes sure, before any work, that a file can be put there.

    Raises:
        PenjingError: PJ602, there is no such folder, or a folder in its place.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        because = "it is a folder" if path.is_dir() else f"there is no folder `{path.parent}`"
        raise PenjingError("PJ602", f"`{path}` cannot be written", because=because)
