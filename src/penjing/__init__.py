"""Grows a trained neural network small enough for the hardware it must live in, and proves it.

import penjing as pj

result = pj.prune(model, example_inputs, budget="latency=0.5x")
result.save("runs/a")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penjing import compress, criteria, devices
    from penjing.api import Comparison, Result, Sensitivity, Task, compare_criteria, load, sensitivity, trace
    from penjing.api import prune as prune  # type: ignore[no-redef]
    from penjing.api import sparsify as sparsify  # type: ignore[no-redef]
    from penjing.compress import load_sparse, to_sparse
    from penjing.errors import PenjingError
    from penjing.plan import Budget, Plan
    from penjing.recover import BatchNorm, Blockwise, FineTune, HuggingFace, Lightning, Loop, Reconstruct
    from penjing.run import Iterative, MLflow, TensorBoard

__all__ = [
    "BatchNorm",
    "Blockwise",
    "Budget",
    "Comparison",
    "FineTune",
    "HuggingFace",
    "Iterative",
    "Lightning",
    "Loop",
    "MLflow",
    "PenjingError",
    "Plan",
    "Reconstruct",
    "Result",
    "Sensitivity",
    "Synthetic",
    "Task",
    "TensorBoard",
    "compare_criteria",
    "compress",
    "criteria",
    "devices",
    "load",
    "load_sparse",
    "prune",
    "sensitivity",
    "sparsify",
    "to_sparse",
    "trace",
]

_HOMES = {
    "BatchNorm": "penjing.recover",
    "Blockwise": "penjing.recover",
    "Budget": "penjing.plan",
    "Comparison": "penjing.api",
    "FineTune": "penjing.recover",
    "HuggingFace": "penjing.recover",
    "Iterative": "penjing.run",
    "Lightning": "penjing.recover",
    "Loop": "penjing.recover",
    "MLflow": "penjing.run",
    "PenjingError": "penjing.errors",
    "Plan": "penjing.plan",
    "Reconstruct": "penjing.recover",
    "Result": "penjing.api",
    "Sensitivity": "penjing.api",
    "Synthetic": "penjing.recover",
    "Task": "penjing.api",
    "TensorBoard": "penjing.run",
    "compare_criteria": "penjing.api",
    "load": "penjing.api",
    "load_sparse": "penjing.compress",
    "prune": "penjing.api",
    "sensitivity": "penjing.api",
    "sparsify": "penjing.api",
    "to_sparse": "penjing.compress",
    "trace": "penjing.api",
}


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first used: `import penjing` itself costs nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"penjing.{name}")
    raise AttributeError(f"module `penjing` has no attribute `{name}`")


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *__all__})
