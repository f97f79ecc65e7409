"""How long it takes to learn what a ResNet-50 costs on this machine: from nothing, and again.

    python benchmarks/bench_profile.py

Runs `penjing.run.profile` (trace, export, measurement, ten calibration networks, the fit) on one thread with
an empty cache of measurements, and once more with what that left. CPU and wall seconds of the whole process.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

import torch
from revision import commit
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification

from penjing.devices import Cpu
from penjing.run import profile

RESULT = Path(__file__).parent / "results" / "profile.json"


class Logits(nn.Module):
    """ResNet-50 as it comes, without the record around its output."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ResNetForImageClassification(ResNetConfig(num_labels=1000))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images).logits
        return logits


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, images = Logits().eval(), torch.randn(1, 3, 224, 224)
    found = {}
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        os.environ["PENJING_CACHE"] = folder
        for name in ("from nothing", "from the cache"):
            wall, cpu = time.perf_counter(), time.process_time()
            record = profile(model, images, Cpu())
            found[name] = {
                "wall_s": round(time.perf_counter() - wall, 1),
                "cpu_s": round(time.process_time() - cpu, 1),
                "latency_ms": round(record["latency_ms"], 2),
                "model_error": record["model_error"],
            }
            print(name, json.dumps(found[name]), flush=True)
    head = {
        "command": "python benchmarks/bench_profile.py",
        "device": Cpu().record(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
        "date": str(date.today()),
    }
    RESULT.write_text(json.dumps({**head, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
