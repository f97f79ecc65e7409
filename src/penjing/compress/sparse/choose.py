"""Whether a layer is quicker in a sparse form: by measurement, on the inputs that it has in its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from penjing.compress.sparse.form import candidates
from penjing.compress.sparse.layer import made_sparse, matrix_of
from penjing.compress.sparse.record import LayerRecord
from penjing.devices.clock import Basis, Timing, choose_basis, interleave

SURE: Final = 2.0
"""Standard errors that two latencies have to lie apart."""


def measured_layer(name: str, layer: nn.Module, inputs: Sequence[Tensor], threads: int) -> LayerRecord:
    """The layer's record, with the form that it is quickest in.

    Args:
        name: its path.
        layer: a dense linear layer or convolution, for which there are `candidates`.
        inputs: of every call of it in one call of the model.
        threads: as PyTorch is set to.
    """
    matrix = matrix_of(layer)
    outputs, features = matrix.shape
    known = LayerRecord(
        name=name,
        shape=(outputs, features),
        inputs=tuple(tuple(x.shape) for x in inputs),
        sparsity=float((matrix == 0).double().mean()) if matrix.numel() else 0.0,
    )
    forms = candidates(matrix)
    jobs = [_job(layer, inputs), *(_job(made_sparse(layer, form), inputs) for form in forms)]
    timings = interleave(jobs, limit_s=4.0)
    basis = choose_basis(timings, threads=threads)
    dense, *sparse = (read(timing, basis) for timing in timings)
    best = min(range(len(forms)), key=lambda place: sparse[place][0])
    pays = surely_less(sparse[best], dense)
    why = (
        "" if pays else f"`{forms[best].name}` takes {sparse[best][0] / dense[0]:.2f}x of what it takes dense"
    )
    return known.model_copy(
        update={
            "dense_ms": dense[0] * 1e3,
            "forms_ms": {form.name: one[0] * 1e3 for form, one in zip(forms, sparse, strict=True)},
            "noise": max(spread for _, spread in (dense, *sparse)),
            "chosen": forms[best].name if pays else None,
            "reason": why,
        }
    )


def read(timing: Timing, basis: Basis) -> tuple[float, float]:
    """Seconds and their relative standard error, by one clock."""
    return (timing.wall_s, timing.wall_spread) if basis == "wall" else (timing.cpu_s, timing.cpu_spread)


def surely_less(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the first is less than the second by more than noise explains."""
    return one[0] * (1 + SURE * one[1]) < other[0] * (1 - SURE * other[1])


def _job(layer: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], object]:
    def job() -> object:
        with torch.inference_mode():
            return [layer(x) for x in inputs]

    return job
