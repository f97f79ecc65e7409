"""Blockwise distillation: every block tuned to give what the original's block gave, without labels."""

from __future__ import annotations

import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

from torch import nn

from penjing.errors import PenjingError
from penjing.network.batch import kept_modes
from penjing.network.replay import by_shape
from penjing.recover.blockwise.apart import Apart
from penjing.recover.blockwise.together import Together
from penjing.recover.deviation import deviation
from penjing.recover.step import RecoveryRecord, Situation, Step

_HELD_OUT = 8
"""One batch in so many judges, and is not tuned on."""


@dataclass(frozen=True)
class Blockwise(Step):
    """Tunes each block of the cut network against the original's activations; then all of them together.

    A block ends wherever a single tensor carries everything on. In order, each is given what the cut network
    really gives it and is tuned to give what the original's block gives, where that is kept; this needs the
    memory of one block. Then all are tuned together towards the outputs of the original, its activations
    behind every block beside them. No labels. Batch norms keep their statistics. What does not help on
    batches held back is taken back, block by block.

    Attributes:
        batches: `inputs` or `(inputs, targets)`; None for the calibration data of the run.
        steps: for each block.
        joint: for all blocks together; 0 for none.
        lr: highest learning rate of Adam; a cosine leads from it to zero.
        share: of the activations behind blocks in what is minimised together; the rest is that of outputs.
        precision: "float32", or "bfloat16" for matrix products and convolutions (autocast).
        memory_bytes: what activations at the ends of one block may take, and the inputs; batches beyond
            that are left out, and the record says so.
        seed: of the order of batches; None for the job's.

    Source: blocks with inputs of the smaller network as in Li et al. 2021 (BRECQ), arXiv:2102.05426; outputs
    and activations together as in Romero et al. 2015 (FitNets), arXiv:1412.6550.
    """

    alone: ClassVar[bool] = True

    batches: Iterable[Any] | None = None
    steps: int = 100
    joint: int = 300
    lr: float = 1e-3
    share: float = 0.3
    precision: Literal["float32", "bfloat16"] = "float32"
    memory_bytes: int = 4 * 2**30
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be meant.

        Raises:
            PenjingError: PJ313, an option out of range.
        """
        ranges = {
            "steps": (self.steps >= 0, "0 or more"),
            "joint": (self.joint >= 0, "0 or more"),
            "lr": (0 < self.lr < float("inf"), "above 0"),
            "share": (0 <= self.share < 1, "from 0 to below 1"),
            "precision": (self.precision in ("float32", "bfloat16"), '"float32" or "bfloat16"'),
        }
        for name, (sound, asked) in ranges.items():
            if not sound:
                raise PenjingError("PJ313", f"Blockwise({name}={getattr(self, name)!r}): {name} is {asked}")

    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        """Tunes in place.

        Raises:
            PenjingError: PJ311, there are no batches; PJ310, one does not run through the model; PJ320, one
                holds NaN; PJ321, the step is not told what was cut from what. The weights are as before.
        """
        start = time.perf_counter()
        net, plan = situation.cut()
        given = situation.calibration if self.batches is None else self.batches
        if given is None:
            raise PenjingError(
                "PJ311",
                "nothing can be distilled: there are no batches",
                tries=["give data=, an iterable of batches of inputs", "Blockwise(batches=...)"],
            )
        batches = list(islice(given, max(self.steps, self.joint, 1) + _HELD_OUT))
        shaped, notes = by_shape(net, batches)
        judged = batches[::_HELD_OUT]
        former = deepcopy(model.state_dict())
        before = deviation(model, situation.original, judged)
        seed = situation.seed if self.seed is None else self.seed
        try:
            with kept_modes(model, net.model):
                model.eval()
                net.model.eval()
                gains = Apart(shaped, plan, model, self, seed, situation.watch).run() if self.steps else []
                if self.joint:
                    Together(shaped, plan, model, self, seed, situation.watch).run()
        except BaseException:
            model.load_state_dict(former)
            raise
        after = deviation(model, situation.original, judged)
        if not after <= before:
            model.load_state_dict(former)
            notes.append(
                f"taken back: outputs would be further from the original's ({after:.3g} of their spread, "
                f"{before:.3g} before)"
            )
            after = before
        options = {
            "steps": self.steps, "joint": self.joint, "lr": self.lr, "share": self.share,
            "precision": self.precision, "batches": len(batches), "blocks": gains,
            "deviation_before": before, "deviation_after": after,
        }  # fmt: skip
        seconds = time.perf_counter() - start
        return RecoveryRecord(method="blockwise", options=options, seconds=seconds, notes=tuple(notes))
