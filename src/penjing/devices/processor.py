"""The processor of a machine: needs Python alone, so that it can be told where penjing is not installed."""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """The CPU's model name with the hash of the features that runtimes choose their code by.

    Such as `AMD EPYC 7B13 (6e1a4f)`.
    """
    described: dict[str, str] = {}
    source = Path("/proc/cpuinfo")
    if source.is_file():
        for line in source.read_text().splitlines():
            key, _, value = line.partition(":")
            described.setdefault(key.strip(), value.strip())
    name = described.get("model name") or platform.processor() or platform.machine()
    features = " ".join(described.get(key, "") for key in ("cpu family", "model", "flags", "Features"))
    return f"{name} ({hashlib.sha256(features.encode()).hexdigest()[:6]})"
