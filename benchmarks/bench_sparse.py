"""When sparse layers pay in PyTorch: layer by layer over sizes, rows and zeros, and on whole networks.

    python benchmarks/bench_sparse.py [--only layers convolutions networks]

Layers: linear ones of 256 to 4096 features on 1, 32 and 196 rows; zeros one by one, or in blocks of 4 to 32.
Convolutions: of one pixel and of three by three, as in a ResNet's stages. Of each: every form as a share of
dense, and whether one was chosen. Networks: a ViT and a BERT of transformers, untrained, their smallest
weights zero in every linear layer; latency before and after, of the models and of their exported programs.
One thread; everything interleaved, medians, by the clock that the product chooses.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import torch
from budget_networks import BUILDERS
from revision import commit
from torch import Tensor, nn

import penjing as pj
from penjing.compress.sparse.choose import measured_layer
from penjing.compress.sparse.form import candidates
from penjing.compress.sparse.layer import matrix_of
from penjing.devices import Cpu, Timed, get, to_program
from penjing.network import Call

RESULT = Path(__file__).parent / "results" / "sparse.json"

WIDTHS, ROWS, ZEROS = (256, 1024, 4096), (1, 32, 196), (0.5, 0.8, 0.9, 0.95, 0.99)
BLOCKS = (4, 16, 32)
STAGES = ((64, 28), (256, 14), (512, 7))
NETWORKS = ("vit", "bert")


def masked(layer: nn.Linear | nn.Conv2d, zeros: float, block: int) -> nn.Linear | nn.Conv2d:
    """Of its blocks, those of the smallest norm are zero."""
    matrix = layer.weight.data.flatten(1)
    rows, columns = (size // block for size in matrix.shape)
    norms = matrix.reshape(rows, block, columns, block).square().sum((1, 3))
    mask = (
        norms > norms.flatten().quantile(zeros) if norms.numel() < 2**24 else norms > threshold(norms, zeros)
    )
    whole = mask.repeat_interleave(block, 0).repeat_interleave(block, 1)
    layer.weight.data *= whole.reshape(layer.weight.shape)
    return layer


def threshold(values: Tensor, share: float) -> Tensor:
    """`quantile` takes no more than 16 million numbers."""
    return values.flatten().kthvalue(max(1, round(share * values.numel()))).values


def layers(keep: Callable[[str, Any], None]) -> None:
    cases = [(width, rows, zeros, 1) for width, rows, zeros in product(WIDTHS, ROWS, ZEROS)]
    cases += [(1024, rows, zeros, block) for rows, zeros, block in product(ROWS, ZEROS, BLOCKS)]
    for width, rows, zeros, block in cases:
        torch.manual_seed(0)
        layer = masked(nn.Linear(width, width), zeros, block)
        name = f"{width} wide, {rows} rows, {zeros:.0%} zero" + (f", blocks of {block}" if block > 1 else "")
        keep(name, judged(name, layer, torch.randn(rows, width)))


def convolutions(keep: Callable[[str, Any], None]) -> None:
    for kernel, (channels, size), zeros in product((1, 3), STAGES, ZEROS[1:]):
        torch.manual_seed(0)
        layer = masked(nn.Conv2d(channels, channels, kernel, padding=kernel // 2), zeros, 1)
        name = f"{kernel}x{kernel}, {channels} channels, {size}x{size} pixels, {zeros:.0%} zero"
        keep(name, judged(name, layer, torch.randn(1, channels, size, size)))


def judged(name: str, layer: nn.Module, x: Tensor) -> dict[str, Any]:
    if not candidates(matrix_of(layer)):
        return {"tried": False}
    found = measured_layer(name, layer, [x], 1)
    assert found.dense_ms is not None
    assert found.noise is not None
    shares = {form: round(ms / found.dense_ms, 3) for form, ms in found.forms_ms.items()}
    return {
        "dense_ms": round(found.dense_ms, 4), "shares": shares, "noise": round(found.noise, 4),
        "chosen": found.chosen,
    }  # fmt: skip


def program_share(model: nn.Module, found: pj.compress.Sparse, inputs: Any) -> float:
    """Latency of the exported program as a share of the dense model's."""
    device = get("torch")
    assert isinstance(device, Timed)
    with tempfile.TemporaryDirectory() as folder:
        dense = to_program(model, Call.of(model, inputs), Path(folder) / "dense.pt2").path
        before, after = device.compare(dense, found.export(Path(folder) / "sparse.pt2"))
    return after.latency_ms / before.latency_ms


def networks(keep: Callable[[str, Any], None]) -> None:
    for name, zeros in product(NETWORKS, (0.8, 0.9, 0.95, 0.98)):
        torch.manual_seed(0)
        model, inputs = BUILDERS[name]()
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                masked(layer, zeros, 1)
        found = pj.to_sparse(model, inputs)
        record = found.record
        keep(
            f"{name}, {zeros:.0%} zero",
            {
                "share": round(record.sparse_ms / record.dense_ms, 4),
                "dense_ms": round(record.dense_ms, 3),
                "noise": round(record.noise, 4),
                "basis": record.basis,
                "sparse_layers": len(record.chosen),
                "layers": len(record.layers),
                "bytes": record.bytes,
                "max_error": record.max_error,
                "note": record.note,
                "program_share": round(program_share(model, found, inputs), 4) if record.chosen else None,
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"layers": layers, "convolutions": convolutions, "networks": networks}
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for part in given.only:
        rows: dict[str, Any] = {}

        def keep(name: str, row: Any, part: str = part, rows: dict[str, Any] = rows) -> None:
            rows[name] = row
            print(name, json.dumps(row), flush=True)
            head = {
                "command": f"python benchmarks/bench_sparse.py --only {part}", "cpu": Cpu().record()["cpu"],
                "torch": torch.__version__, "commit": commit(), "date": str(date.today()),
            }  # fmt: skip
            heads = {**found.get("heads", {}), part: head}
            RESULT.write_text(json.dumps({**found, part: rows, "heads": heads}, indent=1) + "\n")
            found["heads"] = heads

        parts[part](keep)
        found[part] = rows


if __name__ == "__main__":
    main()
