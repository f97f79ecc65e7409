"""`penjing compare-criteria` and `penjing sensitivity`: what to cut by, and where it hurts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from penjing import api
from penjing.api.kept import check_place
from penjing.cli.inspect import Model
from penjing.cli.output import Json, draw, print_record, table
from penjing.cli.profile import Device
from penjing.errors import PenjingError
from penjing.recover import FineTune, Reconstruct, Step

Written = Annotated[
    Path | None, typer.Option("-o", "--output", help="Write the record here, as JSON.", show_default=False)
]
Keep = Annotated[list[str] | None, typer.Option(help="Name pattern of axes to leave alone.")]
Only = Annotated[list[str] | None, typer.Option(help="Name pattern of the axes to cut.")]


def compare_criteria(
    model: Model,
    budget: Annotated[list[str], typer.Option(help="Such as macs=0.5x.", show_default=False)],
    criterion: Annotated[
        list[str] | None, typer.Option(help="One to try; give several. By default all that the data allow.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With how many seeds, from 0.")] = 3,
    device: Device = "macs",
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Solve layers again after each cut.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=0, help="Of fine-tuning after each cut.")] = 0,
    lr: Annotated[float, typer.Option(help="Highest learning rate of fine-tuning.")] = 1e-3,
    keep: Keep = None,
    only: Only = None,
    output: Written = None,
    json: Json = False,
) -> None:
    """Prune a model by several criteria under one budget, and show what metric each comes to."""
    check_place(output)
    task = api.load_task(model)
    with Console(stderr=True).status("pruning") as status:
        found = api.compare_criteria(
            task.model,
            task.example_inputs,
            budget=",".join(budget),
            criteria=criterion,
            seeds=tuple(range(seeds)),
            device=device,
            data=task.calibration_batches(),
            loss=task.loss,
            evaluate=_evaluated(task),
            recover=_recovery(task, reconstruct, epochs, lr),
            told=lambda row: status.update(f"pruned by {row.criterion}"),
            keep=keep,
            only=only,
        )
    if output is not None:
        found.save(output)
    if json:
        print_record(found.model_dump(mode="json"))
        return
    lines = [
        [
            row.criterion,
            row.error or "",
            "" if row.mean is None else f"{row.mean:.4f}",
            "" if row.spread is None else f"{row.spread:.4f}",
            str(len(row.metrics)),
            f"{max(row.achieved):.3f}" if row.achieved else "",
            f"{row.seconds:.0f} s",
        ]
        for row in found.contenders
    ]
    headings = ["criterion", "", "metric", "spread", "runs", "of the limit", "time"]
    skipped = [f"{name}: not tried, {why}" for name, why in found.skipped.items()]
    draw(
        f"{found.model}, {found.budget}; the original: {found.before}",
        table(headings, lines, left=2),
        *skipped,
    )


def sensitivity(
    model: Model,
    criterion: Annotated[
        str | None, typer.Option(help="See `penjing criteria`; by default the best that the data allow.")
    ] = None,
    fraction: Annotated[
        list[float] | None, typer.Option(help="Share of an axis that goes; give several.", show_default=False)
    ] = None,
    keep: Keep = None,
    only: Only = None,
    output: Written = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the curves into this file: .png, .svg or .pdf.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Cut each axis alone, by several shares, and show what metric is left."""
    check_place(output)
    check_place(plot)
    task = api.load_task(model)
    with Console(stderr=True).status("cutting") as status:
        found = api.sensitivity(
            task.model,
            task.example_inputs,
            evaluate=_evaluated(task),
            fractions=fraction or api.FRACTIONS,
            criterion=criterion,
            data=task.calibration_batches(),
            loss=task.loss,
            keep=keep,
            only=only,
            told=lambda curve: status.update(f"cut {curve.axis}"),
        )
    if output is not None:
        found.save(output)
    if plot is not None:
        found.plot(plot)
    if json:
        print_record(found.model_dump(mode="json"))
        return
    lines = [
        [curve.axis, str(curve.size), *(f"{metric:.4f}" for metric in curve.metrics)]
        for curve in found.curves
    ]
    headings = ["axis", "units", *(f"-{share:.0%}" for share in found.fractions)]
    draw(f"{found.model} by {found.criterion}; the original: {found.before:.4f}", table(headings, lines))


def _evaluated(task: api.Task) -> Callable[[Any], float]:
    if task.evaluate is None:
        raise PenjingError(
            "PJ106",
            "nothing can be compared without a metric",
            because="the task has no `evaluate`",
            tries=["penjing.Task(..., evaluate=accuracy)"],
        )
    return task.evaluate


def _recovery(
    task: api.Task, reconstruct: bool, epochs: int, lr: float
) -> Callable[[int], Sequence[Step]] | None:
    if epochs and task.train is None:
        raise PenjingError(
            "PJ311",
            f"cannot fine-tune for {epochs} epochs",
            because="the task has no training data",
            tries=["penjing.Task(..., train=batches)", "--epochs 0"],
        )
    if not reconstruct and not epochs:
        return None

    def steps(seed: int) -> list[Step]:
        found: list[Step] = [Reconstruct()] if reconstruct else []
        if epochs and task.train is not None:
            found.append(FineTune(epochs=epochs, train=task.train, lr=lr, seed=seed))
        return found

    return steps
