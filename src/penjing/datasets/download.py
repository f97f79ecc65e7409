"""Fetching one file from the first address that has the right one."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from penjing.errors import PenjingError

_TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 20
_LIMIT_BYTES = 1 << 28


def fetch(addresses: Sequence[str], sha256: str, path: Path) -> None:
    """Writes the first file among `addresses` whose unpacked content has the checksum to `path`.

    Nothing is written before its content has been checked, and a stopped write leaves nothing under `path`.

    Args:
        addresses: where the gzipped file may be had, in the order to try them.
        sha256: of the content, unpacked: it holds however the file was packed.
        path: where to write the file, packed as it came.

    Raises:
        PenjingError: PJ352 if an address gave another content and none gave the right one, PJ353 if none gave
            anything, or the file cannot be written.
    """
    refusals: list[str] = []
    code = "PJ353"
    for address in addresses:
        try:
            data = _received(address)
        except (OSError, ValueError) as error:
            refusals.append(f"{address}: {_reason(error)}")
            continue
        found = _checksum(data)
        if found == sha256:
            _write(data, path)
            return
        code = "PJ352"
        refusals.append(
            f"{address}: content has SHA-256 {found}, not {sha256}" if found else f"{address}: no gzip file"
        )
    what = f"cannot download {path.name}" if code == "PJ353" else f"what was downloaded is not {path.name}"
    raise PenjingError(
        code,
        what,
        because="\n".join(refusals),
        tries=(
            f"fetch the file by other means and put it at {path}",
            "name a folder that holds it: root=...",
        ),
    )


def _received(address: str) -> bytes:
    """What an address answers, up to a bound that no set of ours comes near."""
    with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
        data: bytes = answer.read(_LIMIT_BYTES)
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error)


def _checksum(data: bytes) -> str | None:
    """SHA-256 of the unpacked content, None if it cannot be unpacked."""
    digest = hashlib.sha256()
    unpacked = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as content:
            while unpacked < _LIMIT_BYTES and (chunk := content.read(_CHUNK_BYTES)):
                unpacked += len(chunk)
                digest.update(chunk)
    except (OSError, EOFError, zlib.error):
        return None
    return digest.hexdigest()


def _write(data: bytes, path: Path) -> None:
    """Writes all of a file or nothing."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise PenjingError(
            "PJ353",
            f"cannot write `{path}`",
            because=error.strerror or str(error),
            tries=("name another cache folder: PENJING_CACHE=...",),
        ) from error
