"""The IDX format of MNIST and its successors: unsigned bytes in any number of dimensions, often gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from penjing.errors import PenjingError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08


def read_idx(path: Path | str) -> Tensor:
    """Reads an IDX file of unsigned bytes, gzipped or plain.

    Args:
        path: the file. Whether it is gzipped is told from its first bytes, not from its name.

    Returns:
        A uint8 tensor of the shape that the file states.

    Raises:
        PenjingError: PJ350 if the file cannot be read or is no IDX file of unsigned bytes, PJ351 if it holds
            fewer or more bytes than its header states.

    Source: the format is described at the end of http://yann.lecun.com/exdb/mnist.
    """
    path = Path(path)
    data = _content(path)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise _foreign(path, f"it starts with `{data[:4].hex(' ')}`, an IDX file with `00 00`")
    if data[2] != _UNSIGNED_BYTE:
        raise _foreign(path, f"its element type is 0x{data[2]:02x}, only 0x08 (unsigned byte) is read")
    dims = data[3]
    start = 4 + 4 * dims
    if dims == 0 or len(data) < start:
        raise _foreign(path, f"its header states {dims} dimensions in a file of {len(data)} bytes")
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    wanted, found = math.prod(shape), len(data) - start
    if wanted != found:
        raise PenjingError(
            "PJ351",
            f"`{path}` is {'truncated' if found < wanted else 'too long'}",
            because=f"its header states {shape}, {wanted} bytes, and {found} follow",
            tries=("fetch the file again",),
        )
    if wanted == 0:
        return torch.empty(shape, dtype=torch.uint8)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked where it is gzipped."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _foreign(path, error.strerror or str(error)) from error
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise PenjingError(
            "PJ351", f"`{path}` is truncated", because=str(error), tries=("fetch the file again",)
        ) from error
    except (OSError, zlib.error) as error:
        raise _foreign(path, f"its compressed data are damaged: {error}") from error


def _foreign(path: Path, because: str) -> PenjingError:
    return PenjingError(
        "PJ350",
        f"cannot read `{path}` as an IDX file",
        because=because,
        tries=("name a folder that holds train-images-idx3-ubyte.gz and its three companions",),
    )
