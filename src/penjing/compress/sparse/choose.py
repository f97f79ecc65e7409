"""Whether a layer is quicker in a sparse form: by measurement, on the inputs that it has in its model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from penjing.compress.sparse.form import candidates
from penjing.compress.sparse.layer import geometry_of, made_sparse, matrix_of
from penjing.compress.sparse.record import LayerRecord
from penjing.devices.clock import Basis, Timing, choose_basis, interleave
from penjing.devices.export import own_words

SURE: Final = 2.0
"""Standard errors that two latencies have to lie apart."""

LEAST: Final = 0.03
"""Least gain: where tensors happen to lie in memory moves a timing by so much, as long as they live there."""

Job = Callable[[], object]
"""One run of a layer or a model."""


def measured_layer(
    name: str, layer: nn.Module, inputs: Sequence[Tensor], threads: int, *, by_columns: bool = False
) -> LayerRecord:
    """The layer's record, with the form that it is quickest in.

    Args:
        name: its path.
        layer: a dense linear layer or convolution, for which there are `candidates`.
        inputs: of every call of it in one call of the model.
        threads: as PyTorch is set to.
        by_columns: whether its outputs may lie by columns.
    """
    matrix = matrix_of(layer)
    outputs, features = matrix.shape
    known = LayerRecord(
        name=name,
        shape=(outputs, features),
        inputs=tuple(tuple(x.shape) for x in inputs),
        sparsity=float((matrix == 0).double().mean()) if matrix.numel() else 0.0,
    )
    jobs: dict[str, Job] = {}
    refusals: list[str] = []
    for form in candidates(matrix):
        job = _job(made_sparse(layer, form, by_columns=by_columns), inputs)
        try:
            job()
        except RuntimeError as error:  # PyTorch has not every product in every build
            refusals.append(f"`{form.name}`: {own_words(error)}")
        else:
            jobs[form.name] = job
    if not jobs:
        return known.model_copy(update={"reason": f"PyTorch refuses it here: {'; '.join(refusals)}"})
    timings = timed([_job(layer, inputs), *jobs.values()], threads, limit_s=4.0)
    basis = choose_basis(timings, threads=threads)
    dense, *sparse = (read(timing, basis) for timing in timings)
    by_form = dict(zip(jobs, sparse, strict=True))
    best = min(by_form, key=lambda name: by_form[name][0])
    pays = surely_less(by_form[best], dense)
    return known.model_copy(
        update={
            "dense_ms": dense[0] * 1e3,
            "forms_ms": {name: one[0] * 1e3 for name, one in by_form.items()},
            "noise": max(spread for _, spread in (dense, *sparse)),
            "basis": basis,
            "chosen": best if pays else None,
            "by_columns": by_columns and pays,
            "geometry": geometry_of(layer) if pays and isinstance(layer, nn.Conv2d) else None,
            "reason": ""
            if pays
            else f"`{best}` takes {by_form[best][0] / dense[0]:.2f}x of what it takes dense",
        }
    )


def timed(jobs: Sequence[Job], threads: int, *, limit_s: float) -> tuple[Timing, ...]:
    """Jobs of PyTorch on so many threads, interleaved."""
    clock = time.thread_time if threads == 1 else time.process_time
    return interleave(jobs, cpu_clock=clock, limit_s=limit_s)


def read(timing: Timing, basis: Basis) -> tuple[float, float]:
    """Seconds and their relative standard error, by one clock."""
    return (timing.wall_s, timing.wall_spread) if basis == "wall" else (timing.cpu_s, timing.cpu_spread)


def surely_less(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the first is less than the second by more than noise explains, and by enough to hold."""
    return one[0] * (1 + SURE * one[1]) < other[0] * min(1 - SURE * other[1], 1 - LEAST)


def _job(layer: nn.Module, inputs: Sequence[Tensor]) -> Job:
    def job() -> object:
        with torch.inference_mode():
            return [layer(x) for x in inputs]

    return job
