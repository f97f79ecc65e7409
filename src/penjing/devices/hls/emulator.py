"""hls4ml projects run on this machine: compiled with g++, bit for bit what the hardware computes."""

from __future__ import annotations

import ctypes
import io
import json
import shutil
import subprocess
import tempfile
import weakref
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from penjing.devices.feeds import Feeds
from penjing.devices.refusal import existing, refused
from penjing.devices.tool import last_words

Array = npt.NDArray[Any]

RECORD: Final = "penjing.json"
"""Beside the project's own files: the shapes of its inputs and outputs, as PyTorch has them."""

_BUILD: Final = "build_lib.sh"


class Emulator:
    """One project, ready to run."""

    def __init__(self, content: bytes, name: str) -> None:
        """Unpacks and compiles it, in about 15 seconds.

        Args:
            content: of the zip file.
            name: what errors call it.

        Raises:
            PenjingError: PJ405, it is no project, or g++ refuses it.
        """
        self.name = name
        folder = Path(tempfile.mkdtemp(prefix="penjing-emulation-"))
        remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as file:
                file.extractall(folder)
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            script = folder / _BUILD
            done = subprocess.run(
                ["bash", str(script)], cwd=folder, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(last_words(done.stdout + done.stderr))
            (library,) = (folder / "firmware").glob("*.so")
            self._inner = ctypes.CDLL(str(library))
            (header,) = folder.glob("*_bridge.cpp")
            self._call = getattr(self._inner, f"{header.stem.removesuffix('_bridge')}_float")
        except Exception as error:  # of the zip file, of JSON, of g++, of the loader
            remove()
            raise refused("hls4ml's emulation", name, error) from error
        self._inputs = [tuple(shape) for shape in record["inputs"]]
        self._outputs = [tuple(shape) for shape in record["outputs"]]

    @classmethod
    def read(cls, path: Path) -> Emulator:
        """That of a file; what was compiled lately is kept.

        Raises:
            PenjingError: PJ404, there is no such file; PJ405, as above.
        """
        return cls.of(existing(path).read_bytes(), str(path))

    @classmethod
    def of(cls, content: bytes, name: str) -> Emulator:
        """That of a file's content, likewise."""
        return _compiled(content, name)

    def run(self, feeds: Feeds) -> list[Array]:
        """Outputs, in order, for every sample of a batch.

        Raises:
            PenjingError: PJ405, the inputs are not of the project's shapes.
        """
        given = [np.asarray(value, dtype=np.float32) for value in feeds.values()]
        if [value.shape[1:] for value in given] != self._inputs:
            shapes = [value.shape[1:] for value in given]
            wrong = ValueError(f"it takes samples of {self._inputs}, not {shapes}")
            raise refused("hls4ml's emulation", self.name, wrong)
        found = [np.zeros((len(given[0]), *shape), dtype=np.float32) for shape in self._outputs]
        for number in range(len(given[0])):
            inside = [_last(value[number]) for value in given]
            outside = [np.zeros(int(np.prod(shape)), dtype=np.float32) for shape in self._outputs]
            self._call(*(one.ctypes.data_as(ctypes.c_void_p) for one in (*inside, *outside)))
            for whole, flat, shape in zip(found, outside, self._outputs, strict=True):
                whole[number] = _first(flat, shape)
        return list(found)


@lru_cache(maxsize=8)
def _compiled(content: bytes, name: str) -> Emulator:
    return Emulator(content, name)


def compiler() -> str | None:
    """Path of the compiler that emulations need; None where there is none."""
    return shutil.which("g++") and shutil.which("bash")


def _last(value: Array) -> Array:
    """Channels last, as hls4ml streams them."""
    return np.ascontiguousarray(np.moveaxis(value, 0, -1))


def _first(flat: Array, shape: tuple[int, ...]) -> Array:
    """The inverse."""
    return np.moveaxis(flat.reshape((*shape[1:], shape[0])), -1, 0) if len(shape) > 1 else flat
