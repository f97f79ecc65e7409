"""Dynamic sparse training: as many weights from beginning to end, but not the same ones."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from penjing.compress.masks.chance import RandomWeights
from penjing.compress.masks.choose import choose
from penjing.compress.masks.erk import ERK
from penjing.compress.masks.held import clear
from penjing.compress.masks.masks import Masks
from penjing.compress.masks.pattern import Unstructured
from penjing.compress.masks.rule import first_gone
from penjing.compress.masks.share import Sparsity, checked_share
from penjing.compress.masks.weights import weights
from penjing.criteria import Statistics
from penjing.errors import PenjingError


def exchanged(weight: Tensor, mask: Tensor, promise: Tensor, count: int) -> Tensor:
    """Drops the smallest weights, and grows as many elsewhere.

    What is dropped may be grown again at once: then nothing has happened to it.

    Args:
        weight: its values.
        mask: which are there, bool, shaped as it.
        promise: of those that are not there; the largest grow.
        count: how many to exchange; no more than there are, or than there is room for.

    Returns:
        The new mask, with as many.

    Source: Evci et al. 2020 (RigL), arXiv:1911.11134, algorithm 1.
    """
    count = min(count, int(mask.sum()), int((~mask).sum()))
    size = weight.detach().abs().flatten().double()
    left = mask.flatten() & first_gone(size.masked_fill(~mask.flatten(), torch.inf), count)
    order = (-promise.detach().flatten().double()).masked_fill(left, torch.inf)
    return (left | ~first_gone(order, count)).view(mask.shape)


class Dynamic(ABC):
    """What both methods have in common; derive from it for a third.

    Call `step()` after every step of the optimizer. Weights that are not there are zeros in place; those
    that grow begin at zero, and what the optimizer remembers of either is cleared.

    Attributes:
        masks: of now.
        notes: what is left whole, and why.
        steps: how many were made.
    """

    def __init__(
        self,
        model: nn.Module,
        sparsity: float,
        *,
        optimizer: Optimizer | None = None,
        scope: Literal["erk", "layer"] = "erk",
        every: int = 100,
        fraction: float = 0.3,
        end: int | None = None,
        masks: Mapping[str, Tensor] | None = None,
        keep: Sequence[str] = (),
        only: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        """Sets weights to zero.

        Args:
            model: as initialised.
            sparsity: of all weights together.
            optimizer: whose memory is cleared. May be set later.
            scope: how dense layers are: "erk" by their shapes, "layer" all alike.
            every: steps from one exchange to the next.
            fraction: of the weights that are there to exchange, at the first.
            end: the step from which on nothing is exchanged any more; None for none.
            masks: to begin with; None for random ones.
            keep: patterns of names to leave whole.
            only: of those to take; None for all.
            seed: of what is random.

        Raises:
            PenjingError: PJ811, a share or a scope is none; PJ812, a layer would be empty; PJ816, a name fits
                nothing; PJ817, `every` or `end` cannot be.
        """
        checked_share(f"fraction={fraction!r}", fraction)
        if every < 1 or (end is not None and end < 1):
            raise PenjingError("PJ817", f"every={every}, end={end}: both are at least 1")
        if scope not in ("erk", "layer"):
            raise PenjingError("PJ811", f"there is no scope `{scope}`", tries=['"erk"', '"layer"'])
        self.model, self.optimizer, self.steps = model, optimizer, 0
        self._every, self._fraction, self._end, self._seed = every, fraction, end, seed
        self._weights, self.notes = weights(model, keep=keep, only=only)
        chance = RandomWeights(seed)
        worth = {name: chance.worth(name, one.tensor, Statistics()) for name, one in self._weights.items()}
        rule = ERK(sparsity) if scope == "erk" else Sparsity(sparsity, "layer")
        self.masks = Masks(masks) if masks is not None else choose(worth, Unstructured(), rule).masks
        self._hold(self.masks)

    def step(self) -> bool:
        """After a step of the optimizer, and before its gradients are cleared.

        Returns:
            Whether weights were exchanged.

        Raises:
            PenjingError: PJ819, there are no gradients where they are needed.
        """
        self.steps += 1
        due = self.steps % self._every == 0 and (self._end is None or self.steps < self._end)
        before = self.masks
        if due:
            share = self.share(self.steps)
            self.masks = Masks({name: self._exchanged(name, mask, share) for name, mask in before.items()})
        self._hold(before)
        return due

    def share(self, step: int) -> float:
        """The part of the weights that is exchanged at a step."""
        return self._fraction

    @abstractmethod
    def promise(self, name: str, weight: nn.Parameter) -> Tensor:
        """What every place is worth to grow at; shaped as the weight."""

    def state_dict(self) -> dict[str, Any]:
        """What is to be saved, beside model and optimizer, for a training that goes on later."""
        return {"steps": self.steps, "masks": dict(self.masks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.steps, self.masks = state["steps"], Masks(state["masks"])

    def _exchanged(self, name: str, mask: Tensor, share: float) -> Tensor:
        weight = self._weights[name].tensor
        on = mask.to(weight.device)
        return exchanged(weight, on, self.promise(name, weight), round(share * int(on.sum()))).cpu()

    def _hold(self, before: Mapping[str, Tensor]) -> None:
        """Zeros where nothing is, or where nothing was a step ago."""
        pairs = [(self._weights[name].tensor, ~(mask & before[name])) for name, mask in self.masks.items()]
        clear([(weight, gone.to(weight.device)) for weight, gone in pairs], self.optimizer)


@final
class RigL(Dynamic):
    """Weights grow where the gradient is largest; fewer and fewer are exchanged, by a cosine.

    Source: Evci et al. 2020, arXiv:1911.11134; there `end` is three quarters of the training, `every` 100 and
    `fraction` 0.3.
    """

    def share(self, step: int) -> float:
        """`fraction / 2 * (1 + cos(pi * step / end))`; without an end, always `fraction`."""
        if self._end is None:
            return self._fraction
        return self._fraction / 2 * (1 + math.cos(math.pi * step / self._end))

    def promise(self, name: str, weight: nn.Parameter) -> Tensor:
        """The size of the gradient, of places where nothing is, too."""
        if weight.grad is None:
            raise PenjingError(
                "PJ819",
                f"`{name}` has no gradient to grow by",
                because="step() comes after the optimizer's, and before gradients are cleared",
                tries=["backward(), optimizer.step(), then this step(), then zero_grad()"],
            )
        return weight.grad.abs()


@final
class SET(Dynamic):
    """Weights grow at random places.

    Source: Mocanu et al. 2018, arXiv:1707.04780, where `fraction` is 0.3 and an exchange follows every epoch.
    """

    def promise(self, name: str, weight: nn.Parameter) -> Tensor:
        """Other random numbers at every step."""
        chance = RandomWeights(self._seed)
        return chance.worth(f"{name} {self.steps}", weight, Statistics()).to(weight.device)
