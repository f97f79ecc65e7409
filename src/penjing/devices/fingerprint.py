"""What a measurement depends on, so that another machine's or runtime's is never taken for this one's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import onnxruntime

from penjing.devices.processor import cpu_name


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
