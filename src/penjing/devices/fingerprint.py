"""What a measurement depends on, so that another machine's or runtime's is never taken for this one's."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import onnxruntime


@dataclass(frozen=True)
class Fingerprint:
    """The machine and the runtime that measurements were taken with.

    Attributes:
        cpu: its model name, and the features that a runtime chooses its code by.
        runtime: name and version.
        threads: inside an operator.
        precision: of the arithmetic.
    """

    cpu: str
    runtime: str
    threads: int
    precision: str = "float32"

    @classmethod
    def here(cls, threads: int) -> Fingerprint:
        """This machine, this ONNX Runtime."""
        return cls(cpu_name(), f"onnxruntime {onnxruntime.__version__}", threads)

    def key(self) -> str:
        """Short and stable, fit for a file's name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@cache
def cpu_name() -> str:
    """The CPU's model name with its features' hash, such as `AMD EPYC 7B13 (6e1a4f)`."""
    described: dict[str, str] = {}
    source = Path("/proc/cpuinfo")
    if source.is_file():
        for line in source.read_text().splitlines():
            key, _, value = line.partition(":")
            described.setdefault(key.strip(), value.strip())
    name = described.get("model name") or platform.processor() or platform.machine()
    features = " ".join(described.get(key, "") for key in ("cpu family", "model", "flags", "Features"))
    return f"{name} ({hashlib.sha256(features.encode()).hexdigest()[:6]})"
