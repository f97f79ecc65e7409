"""A step's progress on disk: the one before is kept until the new one is whole, and after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from penjing.recover import Checkpoint, Saved
from penjing.run.sealed import read_manifest, seal
from penjing.run.state import write_tensors

_KEEP: Final = 2
_TENSORS: Final = "tensors.safetensors"
_RECORD: Final = "record.json"


class Kept(Checkpoint):
    """Two sealed folders, the newer with the higher number: where it is damaged, the older one stands in."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Begins to write, or goes on, in `folder`, which is made when it is first written to."""
        self._folder, self._durable = folder, durable

    def read(self) -> Saved | None:
        """The newest that is whole; damaged ones are removed."""
        for path in reversed(self._numbered()):
            if read_manifest(path) is not None:
                record = json.loads((path / _RECORD).read_text(encoding="utf-8"))
                return Saved(load_file(path / _TENSORS), record)
            shutil.rmtree(path, ignore_errors=True)
        return None

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Adds one, and removes what is older than the one before it.

        Raises:
            PenjingError: PJ602, there is no room; what was written before stands.
            OSError: likewise.
        """
        before = self._numbered()
        target = self._folder / f"{int(before[-1].name) + 1 if before else 0:06d}"
        draft = self._folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            apart = {
                name: tensor.detach().clone(memory_format=torch.contiguous_format)
                for name, tensor in tensors.items()
            }
            write_tensors(apart, draft / _TENSORS, {})
            (draft / _RECORD).write_text(json.dumps(dict(record)) + "\n", encoding="utf-8")
            seal(draft, target, durable=self._durable)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        for path in before[: 1 - _KEEP]:
            shutil.rmtree(path, ignore_errors=True)

    def _numbered(self) -> list[Path]:
        """Those there are, the oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.name.isdigit())
