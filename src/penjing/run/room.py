"""Whether the disk has room for a run, before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from penjing.errors import PenjingError
from penjing.plan.quantity import written
from penjing.run.job import Job

_LEAST: Final = 2**20
"""Bytes for plan, report, log and the like."""


def check_room(job: Job, folder: Path, *, lasting: bool, way_out: str) -> None:
    """Makes sure that what a run writes will fit, as far as it can be told from the size of the model.

    Args:
        job: what is asked.
        folder: where it is to be written; exists.
        lasting: whether it is to survive a stop.
        way_out: what to do besides making room.

    Raises:
        PenjingError: PJ602, it will not.
    """
    parts = estimate(job, lasting=lasting)
    needed, free = sum(parts.values()), shutil.disk_usage(folder).free
    if free < needed:
        shares = ", ".join(f"{name} {written('size', size)}" for name, size in parts.items() if size)
        raise PenjingError(
            "PJ602",
            f"`{folder}` has {written('size', free)} left, and a run of this model may need "
            f"{written('size', needed)}",
            because=shares,
            tries=[f"make room for {written('size', needed - free)}", way_out],
        )


def estimate(job: Job, *, lasting: bool) -> dict[str, int]:
    """Bytes by what they are for, at the most: the smaller network is taken to be as large as the model."""
    tensors = [*job.model.parameters(), *job.model.buffers()]
    state = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    schedule = job.schedule
    steps = len(job.recover)
    if schedule is not None:
        steps += schedule.rounds * len(job.recover if schedule.steps is None else schedule.steps)
    timed = any(bound.quantity == "latency" for bound in job.budget.bounds)
    return {
        "the exported original": state,
        "networks to measure": state * (4 if timed else 1),  # twelve to calibrate with, of random widths
        "weights after each step of recovery": state * steps,
        "checkpoints": state * 6
        if steps and lasting
        else 0,  # two, each with weights and an optimizer's moments
        "the result": state * 3,
        "records": _LEAST,
    }
