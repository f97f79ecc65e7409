"""A model with sparse layers beside its original: the same function, and quicker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

from penjing.compress.sparse.choose import Job, read, surely_less, timed
from penjing.compress.sparse.record import LayerRecord, SparseRecord
from penjing.devices.clock import choose_basis
from penjing.devices.compare import apart
from penjing.devices.feeds import array, outputs
from penjing.errors import PenjingError
from penjing.network.call import Call

TOLERANCE: Final[Mapping[torch.dtype, float]] = {torch.float32: 1e-4, torch.float64: 1e-10}
"""What outputs may differ by, relative to the largest: sums are added up in another order.

In types that no layer is stored in, outputs were rounded behind the layers: four units of a last place.
"""


def difference(model: nn.Module, small: nn.Module, call: Call) -> float:
    """Largest difference of an output, relative to the largest.

    Raises:
        PenjingError: PJ802, it is more than the order of additions explains.
    """
    with torch.inference_mode():
        found, wanted = (list(outputs(call.copy().run(one)).values()) for one in (small, model))
    error = apart([array(one) for one in found], [array(one) for one in wanted])
    dtypes = [one.dtype for one in wanted if one.is_floating_point()]
    allowed = max((TOLERANCE.get(dtype, 4 * torch.finfo(dtype).eps) for dtype in dtypes), default=0.0)
    if not error <= allowed:
        raise PenjingError(
            "PJ802",
            f"with sparse layers, `{type(model).__name__}` computes something else",
            because=f"outputs differ by {error:.1e} of the largest, and {allowed:.0e} is allowed",
            tries=["report the model: this is a defect"],
        )
    return error


def measured_whole(
    model: nn.Module, small: nn.Module, call: Call, layers: tuple[LayerRecord, ...], threads: int
) -> SparseRecord:
    """Both, timed against one another; where `small` is not quicker, the record is that of `model`.

    Raises:
        PenjingError: PJ802, they are not the same function.
    """
    error = difference(model, small, call)
    timings = timed([_job(model, call), _job(small, call)], threads, limit_s=20.0)
    basis = choose_basis(timings, threads=threads)
    before, after = (read(timing, basis) for timing in timings)
    any_chosen = any(layer.chosen for layer in layers)
    quicker = any_chosen and surely_less(after, before)
    note = ""
    if any_chosen and not quicker:
        note = (
            f"layers paid by themselves, but the whole takes {after[0] / before[0]:.2f}x: nothing is changed"
        )
        layers = tuple(_given_up(layer) if layer.chosen else layer for layer in layers)
    return SparseRecord(
        layers=layers,
        threads=threads,
        basis=basis,
        dense_ms=before[0] * 1e3,
        sparse_ms=(after if quicker else before)[0] * 1e3,
        noise=max(before[1], after[1]),
        max_error=error if quicker else 0.0,
        bytes=(_bytes(model), _bytes(small if quicker else model)),
        note=note,
    )


def _given_up(layer: LayerRecord) -> LayerRecord:
    return layer.model_copy(
        update={"chosen": None, "by_columns": False, "reason": "the whole model is no quicker"}
    )


def _job(model: nn.Module, call: Call) -> Job:
    def run() -> Any:
        with torch.inference_mode():
            return call.run(model)

    return run


def _bytes(model: nn.Module) -> int:
    return sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
