"""Reconstruction without labels or training: every layer is solved again to give what the original gave."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from penjing import processes
from penjing.errors import PenjingError
from penjing.network.batch import kept_modes
from penjing.network.replay import Shaped, by_shape, peak_bytes
from penjing.recover.deviation import deviation
from penjing.recover.reconstruction.lockstep import Lockstep
from penjing.recover.reconstruction.walk import Walk
from penjing.recover.step import RecoveryRecord, Situation, Step
from penjing.recover.synthetic import Synthetic


@dataclass(frozen=True)
class Reconstruct(Step):
    """Solves every linear layer and convolution again, in order, from what the cut network really computes.

    Each is given the weights, near those it has, that bring its output closest to the original's, in the
    sense of least squares over the calibration inputs; what residual sums lack already is made up for by the
    branch that can still do it. Normalisations and layer scales are fitted channel by channel. Batch norms
    take the statistics of their new inputs without changing the function. No labels, no gradients, no
    training. What does not bring the outputs of the whole network
    nearer to the original's is taken back.

    Both networks go through the graph together, so that what has to be kept is the Gram matrix of one layer
    and the activations between two. Several processes share the batches between them, and solve the same
    systems of equations; where each has a loader with batches of its own, the first one does all by itself.

    Attributes:
        batches: `inputs` or `(inputs, targets)`; None for the calibration data of the run, `Synthetic()` for
            made-up ones.
        rows: positions (tokens, pixels) to look at in a layer, in all batches together; None for 16 times
            its features, at least 98304.
        memory_bytes: what activations may take; batches beyond that are left out, and the record says so.
        seed: of the choice of positions; None for the job's.

    Source: layer by layer as He, Zhang, Sun 2017, arXiv:1707.06168, eq. 3, with inputs of the pruned network;
    here for every layer, about the trained weights, with residual sums and held-out ridge.
    """

    batches: Iterable[Any] | Synthetic | None = None
    rows: int | None = None
    memory_bytes: int = 4 * 2**30
    seed: int | None = None

    @processes.together()
    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Solves in place.

        Raises:
            PenjingError: PJ311, there are no batches; PJ310, one does not run through the model; PJ320, one
                holds NaN; PJ321, the step is not told what was cut from what. The weights are as before.
        """
        net, _ = situation.cut()
        batches = situation.calibration if self.batches is None else self.batches
        if batches is None:
            raise PenjingError(
                "PJ311",
                "nothing can be reconstructed: there are no calibration batches",
                tries=["data=[batch, ...], inputs are enough", "data=pj.Synthetic(), where there are none"],
            )
        if isinstance(batches, Synthetic):
            batches = batches.batches(net.model, net.call)
        if processes.world() > 1 and processes.split_already(batches):
            return self._by_first(model, situation, batches)
        return self._solve(model, situation, list(batches), shared=True)

    def _by_first(self, model: nn.Module, situation: Situation, batches: Iterable[Any]) -> RecoveryRecord:
        """Of several processes the first one, on its own batches; all have its weights in the end."""
        record = None
        if processes.is_first():
            record = self._solve(model, situation, list(batches), shared=False)
        model.load_state_dict(processes.from_first(model.state_dict()))
        return processes.from_first(record)  # type: ignore[return-value]

    def _solve(
        self, model: nn.Module, situation: Situation, batches: list[Any], *, shared: bool
    ) -> RecoveryRecord:
        start = time.perf_counter()
        net, plan = situation.cut()
        shaped, notes = by_shape(net, batches)
        shaped, left_out = fitting(shaped, self.memory_bytes)
        notes += left_out
        if not shaped:
            notes.append("nothing is reconstructed: no batch can be used")
            nothing = dict.fromkeys(("deviation_before", "deviation_after"))
            return RecoveryRecord(
                method="reconstruct",
                options={"layers": 0, "batches": 0, **nothing},
                seconds=time.perf_counter() - start,
                notes=tuple(notes),
            )
        seed = situation.seed if self.seed is None else self.seed
        former = deepcopy(model.state_dict())
        before = _deviation(model, situation, batches, shared=shared)
        try:
            with kept_modes(model, net.model), torch.no_grad():
                model.eval()
                net.model.eval()
                firsts = accumulate((len(one.calls) for one in shaped), initial=0)
                steps = [
                    Lockstep(one, plan, model, first=first, shared=shared)
                    for one, first in zip(shaped, firsts, strict=False)
                ]
                done = Walk(steps, model, self.rows, seed).run(situation.watch)
        except BaseException:
            model.load_state_dict(former)
            raise
        if shared:  # the same but for rounding, where processors are not the same
            model.load_state_dict(processes.from_first(model.state_dict()))
        after = _deviation(model, situation, batches, shared=shared)
        if not after <= before:
            model.load_state_dict(former)
            notes.append(
                f"taken back: outputs would be further from the original's ({after:.3g} of their spread, "
                f"{before:.3g} before)"
            )
            after = before
        options = {
            "layers": len(done.solved),
            "batches": sum(len(one.calls) for one in shaped),
            "deviation_before": before if math.isfinite(before) else None,
            "deviation_after": after if math.isfinite(after) else None,
        }
        return RecoveryRecord(
            method="reconstruct",
            options=options,
            seconds=time.perf_counter() - start,
            notes=(*notes, *done.notes()),
        )


def _deviation(model: nn.Module, situation: Situation, batches: list[Any], *, shared: bool) -> float:
    """By the first of several processes, whose word all of them take."""
    if not shared:
        return deviation(model, situation.original, batches)
    own = processes.is_first()
    return processes.from_first(deviation(model, situation.original, batches) if own else 0.0)


def fitting(shaped: Sequence[Shaped], limit: int) -> tuple[list[Shaped], list[str]]:
    """As many batches as fit into memory in both networks, at least one."""
    found: list[Shaped] = []
    lost, left = 0, limit
    for one in shaped:
        each = 2 * peak_bytes(one.net)
        many = max(0 if found else 1, min(len(one.calls), left // max(1, each)))
        lost += len(one.calls) - many
        left -= many * each
        if many:
            found.append(Shaped(one.net, one.calls[:many], one.numbers[:many]))
    note = f"{lost} batches are left out: activations of the others fill {limit / 2**30:.3g} GiB"
    return found, [note] if lost else []
