"""`penjing prune`, the main job; `penjing demo`, the same on what comes with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from penjing import api, processes
from penjing.cli.inspect import Model
from penjing.cli.output import Json, draw, print_record
from penjing.cli.profile import Device, Threads
from penjing.demo.task import recovery as demo_recovery
from penjing.demo.task import task as demo_task
from penjing.errors import PenjingError
from penjing.plan import METRIC, Budget
from penjing.recover import FineTune, Reconstruct, Step
from penjing.report import draw as drawn
from penjing.run import Iterative, TensorBoard, check_target, is_finished, is_unfinished

DEMO_BUDGET = "latency=0.5x"
DEMO = "penjing demo"
"""What a recipe names in the place of a file where the model comes with the package."""

Output = Annotated[
    Path,
    typer.Option(
        "-o", "--output", help="The run's directory: new, empty, or that of the same run.", show_default=False
    ),
]
TensorBoardFolder = Annotated[
    Path | None, typer.Option(help="Folder for TensorBoard's event file.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Of everything random.")]


@processes.together()
def prune(
    model: Model,
    output: Output,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as latency=0.5x or size=2MB; give several, or one with commas. May be left out "
            "where there is a floor.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
    criterion: Annotated[
        str | None, typer.Option(help="See `penjing criteria`; by default the best that the data allow.")
    ] = None,
    aggregate: Annotated[str, typer.Option(help="Over the slices of a unit: sum, mean or max.")] = "sum",
    normalise: Annotated[
        str | None,
        typer.Option(help="Across axes: none, mean, l2 or rank; by default the criterion's own way."),
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Name pattern of axes to leave alone.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Name pattern of the axes to cut.")] = None,
    exact: Annotated[
        list[str] | None, typer.Option(help="AXIS=0.25 (a share) or AXIS=12 (units): how much of it to keep.")
    ] = None,
    depth: Annotated[
        bool, typer.Option("--depth", help="Residual branches may be left out as a whole, too.")
    ] = False,
    floor: Annotated[
        str | None,
        typer.Option(
            help="The least metric: 0.92, or 0.99x of the original's. It goes before the budget.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Cut a little and recover a little, so many times.", show_default=False),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            help="Of the rounds' limits: geometric, linear or cubic; by default geometric.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Of fine-tuning; by default 3 where the task has training data, else 0."),
    ] = None,
    lr: Annotated[float, typer.Option(help="Highest learning rate of fine-tuning.")] = 1e-3,
    loss: Annotated[
        str, typer.Option(help="What fine-tuning follows: label, teacher, or label+teacher.")
    ] = "label+teacher",
    optimizer: Annotated[str, typer.Option(help="Of fine-tuning: adamw or sgd.")] = "adamw",
    ema: Annotated[
        float | None,
        typer.Option(help="Decay of a moving average of the weights, such as 0.999; it is what is kept."),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better metric after which fine-tuning stops.")
    ] = None,
    tensorboard: TensorBoardFolder = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Make a model smaller until it is measured to fit the budget, and write what is to be shipped."""
    check_place(output)
    bounds = Budget.parse(",".join([*(budget or []), *([] if floor is None else [f"{METRIC}>={floor}"])]))
    shares = _exact(exact or [])
    task = api.load_task(model)
    data = task.calibration_batches()
    tuning = {"lr": lr, "loss": loss, "optimizer": optimizer, "ema": ema, "patience": patience}
    result = api.prune(
        task.model,
        task.example_inputs,
        budget=bounds,
        device=device,
        criterion=criterion,
        aggregate=aggregate,  # type: ignore[arg-type]
        normalise=normalise,  # type: ignore[arg-type]
        data=data,
        loss=task.loss,
        evaluate=task.evaluate,
        recover=_recovery(task, data is not None, epochs, tuning),
        keep=keep,
        only=only,
        exact=shares,
        depth=depth,
        schedule=_schedule(rounds, spacing),
        seed=seed,
        threads=threads,
        source=model,
        directory=output,
        log=None if tensorboard is None else TensorBoard(tensorboard),
    )
    finish(result, output, json)


@processes.together()
def demo(
    output: Output = Path("runs/demo"),
    budget: Annotated[str, typer.Option(help="What the result may cost.")] = DEMO_BUDGET,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Prune the network that comes with penjing to half its latency; show before and after."""
    check_place(output)
    task = demo_task()
    result = api.prune(
        task.model,
        task.example_inputs,
        budget=budget,
        data=task.calibration_batches(),
        loss=task.loss,
        evaluate=task.evaluate,
        recover=demo_recovery(task),
        seed=seed,
        source=DEMO,
        directory=output,
    )
    finish(result, output, json)


def check_place(output: Path) -> None:
    """Makes sure, before any work, that a run can be written there, or go on.

    Raises:
        PenjingError: PJ601, PJ602, as `check_target`.
    """
    if processes.is_first() and not (is_unfinished(output) or is_finished(output)):
        check_target(output)


def finish(result: api.Result, output: Path, json: bool) -> None:
    """Prints the report of a run, and where it stands; one process does."""
    if not processes.is_first():
        return
    if json:
        print_record(result.report.model_dump(mode="json", by_alias=True))
    else:
        draw(drawn(result.report, axes=False), f"\nwritten to {output}")


def _recovery(task: api.Task, calibrated: bool, epochs: int | None, tuning: Mapping[str, Any]) -> list[Step]:
    """Layers are solved again wherever there are data; fine-tuning needs training data."""
    steps: list[Step] = [Reconstruct()] if calibrated else []
    if epochs is None:
        epochs = 3 if task.train is not None else 0
    if epochs == 0:
        return steps
    if task.train is None:
        raise PenjingError(
            "PJ311",
            f"cannot fine-tune for {epochs} epochs",
            because="the task has no training data",
            tries=["penjing.Task(..., train=batches)", "--epochs 0"],
        )
    return [*steps, FineTune(epochs=epochs, train=task.train, **tuning)]


def _schedule(rounds: int | None, spacing: str | None) -> Iterative | None:
    """Rounds, where any option asks for them."""
    given = {"rounds": rounds, "spacing": spacing}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return Iterative(**options) if options else None


def _exact(given: list[str]) -> Mapping[str, float | int]:
    """`AXIS=0.25` and `AXIS=12`, read: a number with a point is a share."""
    found: dict[str, Any] = {}
    for text in given:
        name, _, amount = text.rpartition("=")
        try:
            found[name] = int(amount) if amount.isdigit() else float(amount)
        except ValueError:
            name = ""
        if not name:
            raise PenjingError(
                "PJ704",
                f"`--exact {text}` cannot be read",
                because="it is written AXIS=0.25, a share, or AXIS=12, a number of units",
                tries=["`penjing inspect MODEL` lists the axes"],
            )
    return found
