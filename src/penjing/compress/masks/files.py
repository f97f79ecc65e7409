"""Masks in files, without pickle."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as encoded
from torch import Tensor

from penjing.errors import PenjingError

_FORMAT = "penjing-masks-1"


def write(masks: Mapping[str, Tensor], path: Path) -> Path:
    """Writes a file in the form that its name ends on.

    Raises:
        PenjingError: PJ602, it cannot be written; PJ814, it ends on something else than `.safetensors` or
            `.json`.
    """
    if path.suffix == ".json":
        content = json.dumps({"format": _FORMAT, "masks": {n: _packed(m) for n, m in masks.items()}}).encode()
    elif path.suffix == ".safetensors":
        content = encoded({n: m.cpu().contiguous() for n, m in masks.items()}, metadata={"format": _FORMAT})
    else:
        raise _no_form(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise PenjingError("PJ602", f"`{path}` cannot be written", because=str(error)) from error
    return path


def read(path: Path) -> dict[str, Tensor]:
    """Reads such a file.

    Raises:
        PenjingError: PJ814, there is none, or it holds no masks.
    """
    if path.suffix not in (".json", ".safetensors"):
        raise _no_form(path)
    try:
        if path.suffix == ".safetensors":
            found: dict[str, Tensor] = load_file(path)
            return found
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise ValueError(f"it is not of the form `{_FORMAT}`")
        return {name: _unpacked(one) for name, one in record["masks"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, SafetensorError) as error:
        raise PenjingError(
            "PJ814", f"`{path}` holds no masks", because=f"{type(error).__name__}: {error}"
        ) from error


def _packed(mask: Tensor) -> dict[str, Any]:
    bits = np.packbits(mask.cpu().flatten().numpy()).tobytes()
    return {"shape": list(mask.shape), "bits": base64.b64encode(bits).decode("ascii")}


def _unpacked(record: Mapping[str, Any]) -> Tensor:
    shape = tuple(int(size) for size in record["shape"])
    raw = np.frombuffer(base64.b64decode(record["bits"], validate=True), dtype=np.uint8)
    if len(raw) != -(-prod(shape) // 8):
        raise ValueError(f"{len(raw)} bytes for a mask of {shape}")
    return torch.from_numpy(np.unpackbits(raw, count=prod(shape)).astype(bool)).view(shape)


def _no_form(path: Path) -> PenjingError:
    return PenjingError(
        "PJ814", f"`{path}` is no file for masks", tries=["a name that ends on .safetensors or .json"]
    )
