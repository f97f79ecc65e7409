from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain

import pytest

OPTIONAL = {
    "accelerate",
    "executorch",
    "hypothesis",
    "jax",
    "keras",
    "lightning",
    "matplotlib",
    "mlflow",
    "mypy",
    "openvino",
    "optuna",
    "pytest",
    "tensorboard",
    "tensorflow",
    "timm",
    "torch_pruning",
    "torchao",
    "torchvision",
    "transformers",
}
CPU_SECONDS = 1.0

# torch is what every user has loaded already: what it loads, and how long that takes, is not our doing.
PROBE = """
import json, sys, time
import torch
before, start = set(sys.modules), time.process_time()
import penjing
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "modules": sorted(set(sys.modules) - before)}))
"""


def probe() -> tuple[float, set[str]]:
    """CPU seconds and new top-level modules of `import penjing` in a fresh interpreter that has torch."""
    command = [sys.executable, "-c", PROBE]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return answer["seconds"], {module.partition(".")[0] for module in answer["modules"]}


@pytest.fixture(scope="module")
def imported() -> tuple[float, set[str]]:
    return probe()


def test_import_loads_no_optional_framework(imported: tuple[float, set[str]]) -> None:
    modules = imported[1]
    assert "penjing" in modules
    assert not modules & OPTIONAL


def test_import_is_quick(imported: tuple[float, set[str]]) -> None:
    again = (probe()[0] for _ in range(2))
    assert any(seconds < CPU_SECONDS for seconds in chain([imported[0]], again))
