"""Measurements on disk: one JSON file per subject, below the user's cache directory."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def cache_directory() -> Path:
    """`$PENJING_CACHE`, or `penjing` in the user's cache directory."""
    given = os.environ.get("PENJING_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penjing"


class Cache:
    """Records by name. A cache that cannot be read or written costs time, never a result."""

    def __init__(self, directory: Path | None = None) -> None:
        """Keeps records below `directory`, by default `cache_directory()`; made when first written to."""
        self.directory = directory or cache_directory()

    def load(self, name: str) -> dict[str, Any]:
        """The record called `name`; empty where none can be read (a damaged one is noted in the log)."""
        path = self._path(name)
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _log.warning("measurements in %s cannot be read (%s): measuring again", path, error)
            return {}
        if not isinstance(record, dict):
            _log.warning("%s holds no record: measuring again", path)
            return {}
        return record

    def save(self, name: str, record: Mapping[str, Any]) -> None:
        """Replaces the record called `name` in one step, so that no reader ever sees half of it."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
            ) as draft:
                json.dump(record, draft, indent=1, sort_keys=True)
            Path(draft.name).replace(path)
        except OSError as error:
            _log.warning("measurements cannot be kept in %s (%s)", path, error)

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.json"
