"""Dynamic network surgery: what is cut off goes on learning, and is spliced back if need be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from penjing.compress.masks.masks import Masks
from penjing.compress.masks.module import Masked, apply, mask_on, masks_of, objection
from penjing.compress.masks.share import checked_share
from penjing.compress.masks.weights import weights
from penjing.criteria.random import random
from penjing.errors import PenjingError


def spliced(weight: Tensor, mask: Tensor, low: float, high: float) -> Tensor:
    """The new mask: |w| below `low` goes, from `high` on comes back, and in between stays as it was.

    Source: Guo et al. 2016, arXiv:1608.04493, eq. 3.
    """
    size = weight.detach().abs()
    return (size >= high) | (mask & (size >= low))


class Through(Masked):
    """A mask under which all weights learn: the gradient by the masked weight, zeros too, is theirs."""

    def forward(self, weight: Tensor) -> Tensor:
        """Exact zeros in the value; the gradient passes."""
        found: Tensor = weight + (super().forward(weight) - weight).detach()
        return found


@final
class Surgery:
    """Masks by two thresholds around the mean size of each weight tensor, in the user's own loop.

    Call `step()` after every step of the optimizer. Masks are parametrizations: `bake` makes them final.

    Attributes:
        notes: what is left whole, and why.
        steps: how many were made.
        optimizer: of the training, which this asks nothing of.
    """

    def __init__(
        self,
        model: nn.Module,
        c: float = 0.0,
        *,
        margin: float = 0.1,
        decay: float = 1e-4,
        end: int | None = None,
        keep: Sequence[str] = (),
        only: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        """Puts masks on the model by which nothing is gone yet.

        Args:
            model: trained, without masks.
            c: the threshold of a weight tensor is mean + c * standard deviation of |w|, as it is now.
            margin: the two thresholds are that many times less and more.
            decay: masks change at a step with the probability 1 / (1 + decay * step).
            end: the step from which on they do not change any more; None for none.
            keep: patterns of names to leave whole.
            only: of those to take; None for all.
            seed: of the steps at which they change.

        Raises:
            PenjingError: PJ811, a threshold or the margin is none; PJ816, a name fits nothing.
        """
        checked_share(f"margin={margin!r}", margin)
        found, self.notes = weights(model, keep=keep, only=only)
        self.model, self.steps = model, 0
        self.optimizer: Optimizer | None = None
        self._end, self._decay, self._seed = end, decay, seed
        self._thresholds: dict[str, tuple[float, float]] = {}
        for name, one in list(found.items()):
            why = objection(one.module, one.own)
            if why:
                self.notes[name] = why
                del found[name]
                continue
            size = one.tensor.detach().abs().double()
            middle = float(size.mean() + c * size.std())
            if not 0 < middle < float("inf"):
                raise PenjingError(
                    "PJ811", f"c={c:g} gives `{name}` the threshold {middle:.3g}", tries=["a larger c"]
                )
            self._thresholds[name] = ((1 - margin) * middle, (1 + margin) * middle)
        self._weights = found
        every = {name: torch.ones_like(one.tensor, dtype=torch.bool) for name, one in found.items()}
        apply(model, every, kind=Through)

    @property
    def masks(self) -> Masks:
        """Of now."""
        return masks_of(self.model)

    def step(self) -> bool:
        """After a step of the optimizer: cuts and splices, where it is due.

        Returns:
            Whether masks were looked at.
        """
        chance = 1 / (1 + self._decay * self.steps)
        due = float(random(1, name=str(self.steps), seed=self._seed)) < chance
        due = due and (self._end is None or self.steps < self._end)
        self.steps += 1
        if due:
            new = {name: self._spliced(name) for name in self._weights}
            for name, mask in new.items():
                if not bool(mask.any()):
                    low, high = self._thresholds[name]
                    raise PenjingError(
                        "PJ812",
                        f"nothing would be left of `{name}`",
                        because=f"all of its weights are below {low:.3g} (they come back from {high:.3g} on)",
                        tries=["a smaller c", f'keep=["{name}"]'],
                    )
            apply(self.model, new)
        return due

    def state_dict(self) -> dict[str, Any]:
        """What is to be saved, beside model and optimizer, for a training that goes on later."""
        return {"steps": self.steps, "thresholds": self._thresholds, "masks": dict(self.masks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.steps = state["steps"]
        self._thresholds = {name: (low, high) for name, (low, high) in state["thresholds"].items()}
        apply(self.model, state["masks"])

    def _spliced(self, name: str) -> Tensor:
        one = self._weights[name]
        on = mask_on(one.module, one.own)
        assert on is not None
        return spliced(one.tensor, on.mask, *self._thresholds[name])
