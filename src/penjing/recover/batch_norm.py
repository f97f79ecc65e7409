"""Batch-norm re-estimation: the statistics of the cut network, from calibration inputs alone."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from penjing import processes
from penjing.errors import PenjingError
from penjing.network.batch import Batch, kept_modes
from penjing.recover.deviation import deviation
from penjing.recover.step import RecoveryRecord, Situation, Step

_NONE = "the model has no batch norm with running statistics: nothing to estimate"


@dataclass(frozen=True)
class BatchNorm(Step):
    """Estimates running means and variances anew, as the plain average over calibration batches.

    Removing channels shifts the distribution behind every later layer, and the stored statistics are then
    those of another network. No gradients, no labels; everything but batch norms stays as it is. Data that
    are unlike those the network was trained on do harm: where the outputs get further from the original's,
    the former statistics are put back.

    Several processes share the batches between them.

    Attributes:
        batches: `inputs` or `(inputs, targets)`; None for the calibration data of the run. Each batch needs
            at least two values per channel, and all batches weigh the same.
        force: whether the new statistics stay even if they do harm.
    """

    batches: Iterable[Any] | None = None
    force: bool = False

    @processes.together()
    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Estimates in place; if a batch fails, the former statistics are put back.

        Raises:
            PenjingError: PJ311, there are no batches; PJ310, one does not run through the model.
        """
        start = time.perf_counter()
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
        if not norms:
            return self._record(start, 0, 0, [_NONE])
        batches = situation.calibration if self.batches is None else self.batches
        if batches is None:
            raise PenjingError(
                "PJ311",
                "batch norms cannot be estimated anew: there are no calibration batches",
                tries=["give data=, an iterable of batches", "leave BatchNorm() out of recover="],
            )
        split = processes.split_already(batches)
        batches = list(batches)
        former = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
        before = processes.from_first(deviation(model, situation.original, batches))
        count, unreached = _average(model, norms, batches, situation, split=split)
        after = processes.from_first(deviation(model, situation.original, batches))
        notes = [f"no batch reaches {unreached} of the batch norms: left as they were"] if unreached else []
        if not after <= before:
            notes.append(self._judged(before, after))
            if not self.force:
                for norm, state in zip(norms, former, strict=True):
                    _put_back(norm, state)
        return self._record(start, len(norms) - unreached, count, notes, before, after)

    def _judged(self, before: float, after: float) -> str:
        would, end = (
            ("are", "kept by force") if self.force else ("would be", "BatchNorm(force=True) keeps them")
        )
        word = "harm" if self.force else "taken back"
        return (
            f"{word}: with the new statistics, outputs {would} further from "
            f"the original's ({after:.3g} of their spread, {before:.3g} before); {end}"
        )

    def _record(
        self,
        start: float,
        layers: int,
        batches: int,
        notes: list[str],
        before: float | None = None,
        after: float | None = None,
    ) -> RecoveryRecord:
        options = {
            "layers": layers,
            "batches": batches,
            "force": self.force,
            "deviation_before": before if before is not None and math.isfinite(before) else None,
            "deviation_after": after if after is not None and math.isfinite(after) else None,
        }
        seconds = time.perf_counter() - start
        return RecoveryRecord(method="batch_norm", options=options, seconds=seconds, notes=tuple(notes))


def _average(
    model: nn.Module,
    norms: list[_BatchNorm],
    batches: Iterable[Any],
    situation: Situation,
    *,
    split: bool,
) -> tuple[int, int]:
    """Runs every batch with batch norms alone in training mode.

    Returns:
        How many batches there were, and how many norms none of them reached.
    """
    former = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    count, done = 0, set[int]()
    total = len(batches) if isinstance(batches, Sized) else None
    try:
        with kept_modes(model), torch.no_grad(), situation.watch.track("batch norm", total) as advance:
            model.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's word for: average over all batches alike
                norm.train()
            for number, given in processes.mine(batches, split=split):
                Batch.read(model, given, number).run(model)
                count += 1
                advance()
        count = _share(norms, count)
        if not count:
            raise PenjingError(
                "PJ311", "batch norms cannot be estimated anew: the calibration data are empty"
            )
        done = {place for place, norm in enumerate(norms) if _reached(norm)}
    finally:
        for place, (norm, state, momentum) in enumerate(zip(norms, former, momenta, strict=True)):
            norm.momentum = momentum
            if place not in done:
                _put_back(norm, state)
    return count, len(norms) - len(done)


def _share(norms: list[_BatchNorm], count: int) -> int:
    """Averages over the batches of all processes; how many those are."""
    if processes.world() == 1:
        return count
    sums, seen = [], torch.tensor([count], dtype=torch.float64)
    for norm in norms:
        assert norm.num_batches_tracked is not None
        times = norm.num_batches_tracked.double()
        moments = [m for m in (norm.running_mean, norm.running_var) if m is not None]
        sums += [times, *(moment.double() * times for moment in moments)]
    processes.sum_([seen, *sums])
    left = iter(sums)
    for norm in norms:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.copy_(times := next(left))
        for moment in (norm.running_mean, norm.running_var):
            if moment is not None:
                moment.copy_(next(left) / times.clamp_min(1))
    return int(seen)


def _reached(norm: _BatchNorm) -> bool:
    assert norm.num_batches_tracked is not None
    return int(norm.num_batches_tracked) > 0


def _put_back(norm: _BatchNorm, state: dict[str, Tensor]) -> None:
    for name, buffer in norm.named_buffers():
        buffer.copy_(state[name])
