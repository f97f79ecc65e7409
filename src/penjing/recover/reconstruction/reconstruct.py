"""Reconstruction without labels or training: every layer is solved again to give what the original gave."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from penjing.errors import PenjingError
from penjing.network.batch import kept_modes
from penjing.network.projection import computed, projections, readers
from penjing.network.replay import Shaped, by_shape, peak_bytes
from penjing.network.solve import tensor_named
from penjing.recover.deviation import deviation
from penjing.recover.reconstruction.layer import Layer
from penjing.recover.reconstruction.lockstep import Column, Lockstep, again, alike, columns
from penjing.recover.step import RecoveryRecord, Situation, Step, Watch

_LEAST_ROWS = 32768
"""Positions to look at in a layer, in all batches together, if it has few features."""

_ROWS_PER_FEATURE = 16


@dataclass(frozen=True)
class Reconstruct(Step):
    """Solves every linear layer and convolution again, in order, from what the cut network really computes.

    Each is given the weights, near those it has, that bring its output closest to the original's, in the
    sense of least squares over the calibration inputs; what residual sums lack already is made up for by the
    branch that can still do it. Batch norms take the statistics of their new inputs without changing the
    function. No labels, no gradients, no training. What does not bring the outputs of the whole network
    nearer to the original's is taken back.

    Both networks go through the graph together, so that what has to be kept is the Gram matrix of one layer
    and the activations between two.

    Attributes:
        batches: `inputs` or `(inputs, targets)`; None for the calibration data of the run.
        rows: positions (tokens, pixels) to look at in a layer, in all batches together; None for 16 times
            its features, at least 32768.
        memory_bytes: what activations may take; batches beyond that are left out, and the record says so.
        seed: of the choice of positions; None for the job's.

    Source: layer by layer as He, Zhang, Sun 2017, arXiv:1707.06168, eq. 3, with inputs of the pruned network;
    here for every layer, about the trained weights, with residual sums and held-out ridge.
    """

    batches: Iterable[Any] | None = None
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
        net, plan = situation.net, situation.plan
        if net is None or plan is None:
            raise PenjingError(
                "PJ321",
                "nothing can be reconstructed: the step is not told what was cut",
                tries=["pj.prune(..., recover=pj.Reconstruct())", "Situation(..., net=net, plan=plan)"],
            )
        batches = situation.calibration if self.batches is None else self.batches
        if batches is None:
            raise PenjingError(
                "PJ311",
                "nothing can be reconstructed: there are no calibration batches",
                tries=["give data=, an iterable of batches of inputs", "leave Reconstruct() out of recover="],
            )
        batches = list(batches)
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


class Walk:
    """Goes through both networks once.

    Attributes:
        solved: parameter name -> share of the squared held-out residual that was removed.
    """

    def __init__(
        self,
        steps: Sequence[Lockstep],
        model: nn.Module,
        rows: int | None,
        seed: int,
    ) -> None:
        """Takes batches in both networks; those with another graph than the first are left out."""
        self._steps = [step for step in steps if alike(step.net, steps[0].net)]
        self._found = [projections(step.net.trace) for step in self._steps]
        self._model, self._rows = model, rows
        self._computed = computed(self._steps[0].net.trace)
        self._readers = readers(self._steps[0].net.trace, partial(tensor_named, self._steps[0].net.model))
        self._generator = torch.Generator().manual_seed(seed)
        self.solved: dict[str, float] = {}
        self._shared: dict[str, None] = {}
        self._short: dict[str, tuple[int, int]] = {}

    def run(self, watch: Watch) -> Walk:
        """Solves every layer."""
        with watch.track("reconstruct", len(self._found[0])) as advance:
            for column in columns(self._steps):
                if column[0][1] in self._found[0]:
                    self.visit(column)
                    advance()
        return self

    def visit(self, column: Column) -> None:
        """Solves one operator, if it is a layer; all up to it have been run."""
        step, node = column[0]
        if node not in self._found[0]:
            return
        own = [found[at] for (_, at), found in zip(column, self._found, strict=True)]
        name = own[0].weight
        value = step.pairs[0][1].values.get(node)
        if value is None or not value.is_floating_point():
            return
        if self._readers(tensor_named(step.net.model, name)) > 1:
            self._shared[name] = None
            return
        layer = Layer(column, own, self._model)
        features = layer.features
        rows = self._rows or max(_LEAST_ROWS, _ROWS_PER_FEATURE * features)
        found, seen = layer.solve(rows, self._generator)
        if seen < 2 * features:
            self._short[name] = seen, features
        self.solved[name] = found.gain
        again(column)

    def notes(self) -> list[str]:
        """What the user should know."""
        found = []
        if self._shared:
            found.append(
                f"left as they are, since they are used in several places: {_listed([*self._shared])}"
            )
        if self._computed:
            found.append(f"left as they are, since weights are computed from them: {_listed(self._computed)}")
        if self._short:
            name, (seen, features) = max(self._short.items(), key=lambda item: item[1][1] / item[1][0])
            found.append(
                f"few samples: `{name}` reads {features} features at {seen} positions, and "
                f"{2 * features} would be needed; {len(self._short)} such layers are kept nearer to the "
                "trained weights"
            )
        return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
