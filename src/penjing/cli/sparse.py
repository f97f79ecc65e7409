"""`penjing sparse`: layers stored without their zeros, where that is measured to be quicker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penjing import api
from penjing.cli.inspect import Model
from penjing.cli.output import Json, draw, print_record, table
from penjing.cli.profile import Threads
from penjing.compress import to_sparse
from penjing.compress.sparse import LayerRecord, check_empty
from penjing.plan.quantity import written

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A directory for weights and record, or a .pt2 file that runs without the model's code.",
        show_default=False,
    ),
]


def sparse(model: Model, output: Output = None, threads: Threads = 1, json: Json = False) -> None:
    """Store layers of a model that is sparse already without their zeros, where PyTorch is quicker so."""
    program = output is not None and output.suffix.lower() == ".pt2"
    if output is not None and not program:
        check_empty(output)  # before anything is measured
    task = api.load_task(model)
    found = to_sparse(task.model, task.example_inputs, threads=threads)
    if output is not None:
        written_to = found.export if program else found.save
        written_to(output)
    record = found.record
    if json:
        print_record(record.model_dump(mode="json"))
        return
    before, after = (written("latency", ms) for ms in (record.dense_ms, record.sparse_ms))
    lines = [
        f"latency {before} dense, {after} now: by {record.basis} clock, noise {record.noise:.1%}",
        f"size {written('size', record.bytes[0])} of weights, {written('size', record.bytes[1])} now",
        *([record.note] if record.note else []),
        *([f"{output}: {_reader(output)} reads it"] if output is not None else []),
    ]
    headings = ["layer", "matrix", "zeros", "dense", "quickest", "stored", "why not"]
    draw("\n".join(lines), table(headings, [_row(layer) for layer in record.layers], left=1))


def _reader(output: Path) -> str:
    if output.suffix.lower() == ".pt2":
        return "torch.export.load, after import penjing.compress,"
    return "penjing.load_sparse"


def _row(layer: LayerRecord) -> list[str]:
    quickest = min(layer.forms_ms.items(), key=lambda one: one[1], default=None)
    return [
        layer.name,
        "x".join(map(str, layer.shape)),
        f"{layer.sparsity:.0%}",
        "" if layer.dense_ms is None else written("latency", layer.dense_ms),
        "" if quickest is None else f"{quickest[0]} {written('latency', quickest[1])}",
        layer.chosen or "dense",
        layer.reason,
    ]
