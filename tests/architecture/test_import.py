from __future__ import annotations

import json
import subprocess
import sys

import pytest

OPTIONAL = {
    "accelerate",
    "executorch",
    "hypothesis",
    "jax",
    "keras",
    "lightning",
    "matplotlib",
    "mypy",
    "openvino",
    "optuna",
    "pytest",
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
    return min((probe() for _ in range(3)), key=lambda answer: answer[0])


def test_import_loads_no_optional_framework(imported: tuple[float, set[str]]) -> None:
    modules = imported[1]
    assert "penjing" in modules
    assert not modules & OPTIONAL


def test_import_is_quick(imported: tuple[float, set[str]]) -> None:
    assert imported[0] < CPU_SECONDS
