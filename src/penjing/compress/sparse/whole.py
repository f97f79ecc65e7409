"""A model with sparse layers beside its original: the same function, and quicker."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from penjing.compress.sparse.choose import Job, read, surely_less, timed
from penjing.compress.sparse.layer import SparseLayer
from penjing.compress.sparse.record import LayerRecord, SparseRecord
from penjing.devices.clock import choose_basis
from penjing.devices.compare import apart
from penjing.devices.feeds import array, outputs
from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.seeding import seeded

TOLERANCE: Final[Mapping[torch.dtype, float]] = {torch.float32: 1e-4, torch.float64: 1e-10}
"""What outputs may differ by, relative to the largest of each, by the type of the sparse layers.

Sums are added up in another order. Outputs of narrower types were rounded behind the layers: four units of a
last place.
"""


def difference(model: nn.Module, small: nn.Module, call: Call) -> tuple[float, str]:
    """Largest difference of an output, relative to its largest value, and why `small` is of no use.

    Args:
        model: the original, which has not run yet: what it keeps between calls must not tell the two apart.
        small: the same with sparse layers, likewise.
        call: the example inputs.

    Returns:
        The second is "" where it is of use. Whole numbers, such as the class that is most likely, may jump
        where what they are made of was added up in another order.

    Raises:
        PenjingError: PJ802, outputs differ by more than the order of additions explains; PJ102, there is
            nothing to compare.
    """
    layers = [one for one in small.modules() if isinstance(one, SparseLayer)]
    if not layers:
        return 0.0, ""
    found, wanted = _answers(small, call), _answers(model, call)
    if not wanted:
        raise PenjingError(
            "PJ102",
            f"`{type(model).__name__}` gives no tensors that could be compared",
            because="with sparse layers it has to compute the same, and its outputs are of its own type",
            tries=["let it return tensors, in tuples or dicts, or register its type as a pytree"],
        )
    exact = [one.dtype for one in wanted if one.is_floating_point() or one.is_complex()]
    narrow = [torch.finfo(dtype).eps for dtype in exact if torch.finfo(dtype).bits < 32]
    allowed = max([TOLERANCE[one.values.dtype] for one in layers] + [4 * eps for eps in narrow])
    error = _apart(found, wanted, whole=False)
    if not error <= allowed:
        raise PenjingError(
            "PJ802",
            f"with sparse layers, `{type(model).__name__}` computes something else",
            because=f"outputs differ by {error:.1e} of the largest, and {allowed:.0e} is allowed",
            tries=["report the model: this is a defect"],
        )
    if not _apart(found, wanted, whole=True) <= allowed:
        return 0.0, "whole numbers among the model's outputs change with the order of additions"
    return error, ""


def _answers(model: nn.Module, call: Call) -> list[Tensor]:
    """The outputs; whatever is random in them is the same for every model."""
    with torch.inference_mode(), seeded(0):
        return list(outputs(call.copy().run(model)).values())


def _apart(found: Sequence[Tensor], wanted: Sequence[Tensor], *, whole: bool) -> float:
    """Of the whole numbers alone, or of the others; infinite where there are other outputs."""
    if [(one.shape, one.dtype) for one in found] != [(one.shape, one.dtype) for one in wanted]:
        return float("inf")
    pairs = [
        (array(a), array(b))
        for a, b in zip(found, wanted, strict=True)
        if whole is not (b.is_floating_point() or b.is_complex())
    ]
    return apart([a for a, _ in pairs], [b for _, b in pairs])


def measured_whole(
    model: nn.Module,
    small: nn.Module,
    call: Call,
    layers: tuple[LayerRecord, ...],
    threads: int,
    *,
    error: float,
    note: str,
) -> SparseRecord:
    """Both, timed against one another; where `small` is not quicker, the record is that of `model`.

    Args:
        model: the original.
        small: the same with those of `layers` sparse for which a form is chosen.
        call: the example inputs.
        layers: all of them.
        threads: as PyTorch is set to.
        error: by `difference`.
        note: why layers that pay by themselves were given up already; "" where none was.
    """
    timings = timed([_job(model, call), _job(small, call)], threads, limit_s=20.0)
    basis = choose_basis(timings, threads=threads)
    before, after = (read(timing, basis) for timing in timings)
    any_chosen = any(layer.chosen for layer in layers)
    quicker = any_chosen and surely_less(after, before)
    if any_chosen and not quicker:
        note = (
            f"layers paid by themselves, but the whole takes {after[0] / before[0]:.2f}x: nothing is changed"
        )
        layers = given_up(layers, "the whole model is no quicker")
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


def given_up(
    layers: Iterable[LayerRecord], reason: str, names: Collection[str] | None = None
) -> tuple[LayerRecord, ...]:
    """The records, where sparse layers of these names stay dense for that reason; without names, all."""
    dense = {"chosen": None, "by_columns": False, "geometry": None, "reason": reason}
    return tuple(
        layer.model_copy(update=dense) if layer.chosen and (names is None or layer.name in names) else layer
        for layer in layers
    )


def _job(model: nn.Module, call: Call) -> Job:
    call = call.copy()  # code may write into its inputs

    def run() -> Any:
        with torch.inference_mode():
            return call.run(model)

    return run


def _bytes(model: nn.Module) -> int:
    return sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
