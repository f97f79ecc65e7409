"""Reconstruction without labels or training: every layer is solved again to give what the original gave."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

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
    and the activations between two.

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

    alone: ClassVar[bool] = True

    batches: Iterable[Any] | Synthetic | None = None
    rows: int | None = None
    memory_bytes: int = 4 * 2**30
    seed: int | None = None

    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Solves in place.

        Raises:
            PenjingError: PJ311, there are no batches; PJ310, one does not run through the model; PJ320, one
                holds NaN; PJ321, the step is not told what was cut from what. The weights are as before.
        """
        start = time.perf_counter()
        net, plan = situation.cut()
        batches = situation.calibration if self.batches is None else self.batches
        if batches is None:
            raise PenjingError(
                "PJ311",
                "nothing can be reconstructed: there are no calibration batches",
                tries=["data=[batch, ...], inputs are enough", "data=pj.Synthetic(), where there are none"],
            )
        batches = batches.batches(net.model, net.call) if isinstance(batches, Synthetic) else list(batches)
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
        before = deviation(model, situation.original, batches)
        try:
            with kept_modes(model, net.model), torch.no_grad():
                model.eval()
                net.model.eval()
                steps = [Lockstep(one, plan, model) for one in shaped]
                done = Walk(steps, model, self.rows, seed).run(situation.watch)
        except BaseException:
            model.load_state_dict(former)
            raise
        after = deviation(model, situation.original, batches)
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
            found.append(Shaped(one.net, one.calls[:many]))
    note = f"{lost} batches are left out: activations of the others fill {limit / 2**30:.3g} GiB"
    return found, [note] if lost else []
