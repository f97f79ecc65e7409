"""`penjing resume`: a run that was stopped goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from penjing import api, processes
from penjing.cli.output import Json, draw, print_record
from penjing.cli.prune import DEMO, TensorBoardFolder, finish
from penjing.demo.task import task as demo_task
from penjing.report import draw as drawn
from penjing.run import TensorBoard, begun, is_finished, read_report


@processes.together()
def resume(
    run: Annotated[Path, typer.Argument(help="The directory of a run.", show_default=False)],
    tensorboard: TensorBoardFolder = None,
    json: Json = False,
) -> None:
    """Go on with a run that was stopped, by Ctrl-C, a full disk, or a loss of power."""
    if processes.from_first(is_finished(run)):
        if not processes.is_first():
            return
        Console(stderr=True).print(f"the run in {run} is finished", soft_wrap=True)
        report = read_report(run)
        if json:
            print_record(report.model_dump(mode="json", by_alias=True))
        else:
            draw(drawn(report, axes=False))
        return
    recipe, _ = begun(run)
    task = demo_task() if recipe.model == DEMO else None
    log = None if tensorboard is None else TensorBoard(tensorboard)
    finish(api.resume(run, task=task, log=log), run, json)
