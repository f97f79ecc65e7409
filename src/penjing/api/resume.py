"""`penjing.api.resume`: a run that was stopped goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penjing.api.prune import Result, prune
from penjing.api.source import load_task
from penjing.api.task import Task
from penjing.errors import PenjingError
from penjing.recover import Watch
from penjing.run import begun


def resume(
    directory: Path | str, *, task: Task | None = None, log: Watch | Sequence[Watch] | None = None
) -> Result:
    """Goes on with a run where it was stopped, by whatever.

    Args:
        directory: of the run.
        task: model and data; None for those that the recipe names, `file.py:task`.
        log: as in `prune`.

    Returns:
        What the run would have given without a stop.

    Raises:
        PenjingError: PJ603, no run; PJ606, its recipe is damaged; PJ611, it was begun from Python, where its
            model and data are; PJ609, another process is at work in it; PJ610, recipe, model or data are not
            those that it was begun with; else as `prune`.
    """
    recipe, source = begun(directory)
    if task is None:
        if ":" not in source:
            raise PenjingError(
                "PJ611",
                f"`{directory}` cannot go on from its recipe",
                because=f"its model, `{recipe.model}`, was given from Python, and so were its data",
                tries=[f'call pj.prune(..., directory="{directory}") again with the same arguments'],
            )
        task = load_task(source)
    return prune(
        task.model,
        task.example_inputs,
        budget=recipe.budget,
        device=recipe.device,
        criterion=recipe.criterion,
        aggregate=recipe.aggregate,
        normalise=recipe.normalise,
        data=task.calibration_batches(),
        loss=task.loss,
        evaluate=task.evaluate,
        recover=recipe.steps(task.train),
        keep=recipe.keep,
        only=recipe.only,
        exact=recipe.exact,
        depth=recipe.depth,
        schedule=recipe.rounds(task.train),
        seed=recipe.seed,
        threads=recipe.threads,
        source=recipe.model,
        directory=directory,
        log=log,
    )
