"""hls4ml projects run on this machine: compiled with g++, bit for bit what the hardware computes."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
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

_RUN: Final = """
import ctypes, json, os, sys
write = os.fdopen(os.dup(1), "wb")  # what the project itself prints goes elsewhere
os.dup2(2, 1)
library, function, sizes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
call = getattr(ctypes.CDLL(library), function)
inputs, outputs = ([(ctypes.c_float * size)() for size in side] for side in sizes)
read = sys.stdin.buffer
while len(first := read.read(4 * sizes[0][0])):
    ctypes.memmove(inputs[0], first, len(first))
    for one in inputs[1:]:
        read.readinto(one)
    call(*inputs, *outputs)
    for one in outputs:
        write.write(bytes(one))
"""


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
            (self._library,) = (folder / "firmware").glob("*.so")
            (header,) = folder.glob("*_bridge.cpp")
            self._function = f"{header.stem.removesuffix('_bridge')}_float"
        except Exception as error:  # of the zip file, of JSON, of g++
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
        samples = [
            b"".join(_last(value[number]).tobytes() for value in given) for number in range(len(given[0]))
        ]
        sizes = [[int(np.prod(shape)) for shape in shapes] for shapes in (self._inputs, self._outputs)]
        flat = np.frombuffer(self._computed(b"".join(samples), sizes), dtype=np.float32)
        rows = flat.reshape(len(samples), sum(sizes[1]))
        columns = np.split(rows, np.cumsum(sizes[1])[:-1], axis=1)
        return [_first(column, shape) for column, shape in zip(columns, self._outputs, strict=True)]

    def _computed(self, samples: bytes, sizes: list[list[int]]) -> bytes:
        """Outputs of all samples, from a process of their own: its C++ may abort.

        Raises:
            PenjingError: PJ405, it does.
        """
        command = [sys.executable, "-c", _RUN, str(self._library), self._function, json.dumps(sizes)]
        done = subprocess.run(command, input=samples, capture_output=True, check=False)
        if done.returncode:
            said = last_words(done.stderr.decode(errors="replace"))
            raise refused("hls4ml's emulation", self.name, RuntimeError(said))
        return done.stdout


@lru_cache(maxsize=8)
def _compiled(content: bytes, name: str) -> Emulator:
    return Emulator(content, name)


def compiler() -> str | None:
    """Path of the compiler that emulations need; None where there is none."""
    return shutil.which("g++") and shutil.which("bash")


def _last(value: Array) -> Array:
    """Channels last, as hls4ml streams them."""
    return np.ascontiguousarray(np.moveaxis(value, 0, -1))


def _first(rows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse, of every sample in a row of its own."""
    if len(shape) < 2:
        return np.array(rows.reshape(len(rows), *shape))
    return np.array(np.moveaxis(rows.reshape(len(rows), *shape[1:], shape[0]), -1, 1), order="C")
