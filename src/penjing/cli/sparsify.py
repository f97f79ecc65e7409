"""`penjing sparsify`: zeros in the weights of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from safetensors.torch import save_model

from penjing import api
from penjing.cli.inspect import Model
from penjing.cli.output import Json, draw, print_record
from penjing.compress.sparse import check_empty
from penjing.recover import measured


def sparsify(
    model: Model,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of the weights that become zero; 0.9, or what N:M says.")
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="Which weights go together: unstructured, 2:4, 4x4, rows, columns, kernels.")
    ] = "unstructured",
    criterion: Annotated[
        str,
        typer.Option(help="magnitude, lamp, taylor and others that score weights, wanda, sparsegpt, random."),
    ] = "magnitude",
    scope: Annotated[
        str | None, typer.Option(help="What competes: global, layer, row or erk.", show_default=False)
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Name pattern of weights to leave whole.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Name pattern of the weights to take.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A new folder for model.safetensors, masks.safetensors and record.json.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Set the weights of a model that are worth least to zero, and show the metric before and after."""
    if output is not None:
        check_empty(output)  # before anything is done
    task = api.load_task(model)
    found = api.sparsify(
        task.model,
        task.example_inputs,
        sparsity=sparsity,
        pattern=pattern,
        criterion=criterion,
        scope=scope,
        data=task.calibration_batches(),
        loss=task.loss,
        keep=keep,
        only=only,
        bake=True,
    )
    metrics = None
    if task.evaluate is not None:
        metrics = measured(task.evaluate, task.model), measured(task.evaluate, found.model)
    record = {
        **found.record.model_dump(mode="json"),
        "sparsity": found.record.sparsity,
        "metric": None if metrics is None else {"before": metrics[0], "after": metrics[1]},
    }
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        save_model(found.model, str(output / "model.safetensors"))
        found.masks.save(output / "masks.safetensors")
        (output / "record.json").write_text(found.record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if json:
        print_record(record)
        return
    lines = [str(found.record)]
    if metrics is not None:
        lines.append(f"metric {metrics[0]:.4f} before, {metrics[1]:.4f} now, nothing trained")
    if output is not None:
        lines.append(f"{output}: safetensors.torch.load_model reads the weights into the model's own code")
    draw("\n".join(lines))
