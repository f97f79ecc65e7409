"""A small convolutional network on Fashion-MNIST fitted to an FPGA, by the word of its hls4ml project.

    python benchmarks/bench_fpga.py [--epochs 6] [--images 1000]

Trained here, cut by OBS on 2,048 training images to `BUDGETS`, layers solved again; once more with two epochs
of training. Before and after: multipliers and reuse factors as a program says them that is compiled against
hls4ml's own `parameters.h`; block RAM by the formula of hls4ml's `VivadoMultiObjectiveEstimator` and by its
streams; accuracy by the emulation that g++ makes of the project, beside that of the PyTorch module.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
import tempfile
import time
import warnings
import zipfile
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from revision import commit
from torch import Tensor, nn
from torch.nn import functional

import penjing as pj
from penjing.datasets import LabelledImages, fashion_mnist
from penjing.demo.task import Augmented
from penjing.recover import Situation

RESULT = Path(__file__).parent / "results" / "fpga.json"
BUDGETS = ("cycles=0.5x,memory=0.8x", "cycles=0.3x")
CALIBRATION = 2048
SHUFFLE = 6  # cycles a position that hls4ml counts for moving data (`set_target_reuse_factor`)

PRINTER = """
#include <cstdio>
#include "firmware/network.h"
#include "firmware/parameters.h"
int main() {
%s
}
"""


class Small(nn.Module):
    """Four convolutions, three with stride, and a linear layer: 47,194 parameters, 2.1 million operations."""

    def __init__(self) -> None:
        super().__init__()
        widths, strides = (1, 16, 32, 48, 64), (1, 2, 2, 2)
        layers: list[nn.Module] = []
        for (i, o), stride in zip(pairwise(widths), strides, strict=True):
            layers += [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features((x - 0.286) / 0.353).mean((2, 3)))


def trained(epochs: int, train: LabelledImages) -> nn.Module:
    torch.manual_seed(0)
    model = Small()
    step = pj.FineTune(epochs=epochs, train=Augmented(train), lr=1e-2, loss="label", keep="last")
    step.apply(model, Situation(model, [], seed=0))
    return model


def loss(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(outputs, batch[1])


def own_word(project: Path) -> dict[str, Any]:
    """Compiles a program against the project's header, which prints what every layer of weights is."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(project) as file:
            file.extractall(folder)
        header = (Path(folder) / "firmware" / "parameters.h").read_text()
        names = re.findall(r"struct (\w+) : nnet::dense_config", header)
        lines = []
        for name in names:
            whole = name.removesuffix("_mult")
            positions = f"{whole}::out_height * {whole}::out_width" if name != whole else "1"
            read = ", ".join(f"(unsigned){name}::{value}" for value in ("n_in", "n_out", "reuse_factor"))
            limit = f"(unsigned){whole}::multiplier_limit"
            lines.append(f'printf("%u %u %u %u %u\\n", {read}, {limit}, (unsigned)({positions}));')
        source = Path(folder) / "say.cpp"
        source.write_text(PRINTER % "\n".join(lines))
        command = ["g++", "-std=c++17", "-Ifirmware/ap_types", "-I.", str(source), "-o", f"{folder}/say"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        said = subprocess.run([f"{folder}/say"], check=True, capture_output=True, text=True).stdout
    layers = [tuple(map(int, line.split())) for line in said.splitlines()]
    return {
        "multipliers": sum(limit for *_, limit, _ in layers),
        "reuse_factors": [reuse for _, _, reuse, _, _ in layers],
        "cycles_of_layers_with_weights": sum(places * (reuse + SHUFFLE) for _, _, reuse, _, places in layers),
        "weight_blocks": sum(-(-a * b * 16 // (reuse * 36)) for a, b, reuse, _, _ in layers if reuse > 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    train, test = fashion_mnist(split="train"), fashion_mnist(split="test")
    model = trained(given.epochs, train).eval()
    part = test.take(torch.arange(given.images))
    drawn = train.take(torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CALIBRATION])
    data = list(zip(drawn.inputs().split(128), drawn.labels.split(128), strict=True))

    def accuracy(network: nn.Module) -> float:
        with torch.no_grad():
            found = torch.cat([network(batch).argmax(1) for batch in part.inputs().split(250)])
        return round(float((found == part.labels).double().mean()), 4)

    rows: dict[str, Any] = {}
    tuned = pj.FineTune(epochs=2, train=Augmented(train), lr=3e-3, loss="label+teacher")
    for budget in BUDGETS:
        for name, steps in {"solved": [pj.Reconstruct()], "and trained": [pj.Reconstruct(), tuned]}.items():
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder) / "run"
                result = pj.prune(
                    model, torch.zeros(1, 1, 28, 28), budget=budget, device="hls4ml", data=data, loss=loss,
                    evaluate=accuracy, recover=steps, directory=run,
                )  # fmt: skip
                report = json.loads((run / "report.json").read_text())
                said = {
                    side: own_word(run / f"{file}.hls.zip")
                    for side, file in (("before", "original"), ("after", "model"))
                }
            rows[f"{budget}, {name}"] = {
                "budget": report["budget"],
                "hls4ml": said,
                "emulated": [report["before"]["metric"], report["after"]["metric"]],
                "pytorch": [accuracy(model), accuracy(result.model.eval())],
                "memory_bytes": [report[side]["peak_memory_bytes"] for side in ("before", "after")],
                "notes": report["notes"],
                "proof": result.proof.max_error,
                "seconds": round(time.perf_counter() - start, 1),
            }
            record = {
                "command": "python benchmarks/bench_fpga.py", "device": report["device"], "commit": commit(),
                "date": str(date.today()), "images": given.images, "rows": rows,
            }  # fmt: skip
            RESULT.write_text(json.dumps(record, indent=1) + "\n")
            print(budget, name, json.dumps(rows[f"{budget}, {name}"]), flush=True)


if __name__ == "__main__":
    main()
