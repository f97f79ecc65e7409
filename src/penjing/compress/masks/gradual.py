"""Sparsification during training: masks that tighten by a schedule, for any loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, final

from torch import Tensor, nn
from torch.optim import Optimizer

from penjing.compress.masks.choose import Unsuited, choose
from penjing.compress.masks.erk import ERK
from penjing.compress.masks.held import clear
from penjing.compress.masks.masks import Masks
from penjing.compress.masks.named import pattern_named
from penjing.compress.masks.nm import NM
from penjing.compress.masks.pattern import Pattern
from penjing.compress.masks.rule import Rule
from penjing.compress.masks.schedule import Schedule
from penjing.compress.masks.share import Sparsity
from penjing.compress.masks.weights import weights
from penjing.criteria import Magnitude, Statistics, WeightCriterion
from penjing.errors import PenjingError


@final
class Gradual:
    """Prunes a model while the user's loop trains it.

    Call `step()` after every step of the optimizer, which may come before or after `zero_grad`. Weights
    are zeros in place, no parametrization: what is gone stays gone (a step that revives it is undone, and
    the optimizer's memory of it with it), and the forward pass costs what it did.

        gradual = Gradual(model, Cubic(0.9, begin=100, end=900), optimizer=optimizer)
        for batch in loader:
            loss(model(batch)).backward()
            optimizer.step()
            gradual.step()
            optimizer.zero_grad()

    Attributes:
        masks: of now; empty before the first weight goes.
        notes: what is left whole, and why.
        steps: how many were made.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        *,
        optimizer: Optimizer | None = None,
        pattern: Pattern | str = "unstructured",
        scope: Literal["global", "layer", "row", "erk"] | Callable[[float], Rule] = "global",
        criterion: WeightCriterion | None = None,
        statistics: Callable[[], Statistics] | None = None,
        keep: Sequence[str] = (),
        only: Sequence[str] | None = None,
        unsuited: Unsuited = "skip",
    ) -> None:
        """Looks for the weights; nothing is changed yet.

        Args:
            model: in training, without masks.
            schedule: sparsity by step.
            optimizer: whose memory of weights that are gone is cleared; None leaves it. May be set later.
            pattern: which weights go together. Of N:M, n comes down to its own by the schedule.
            scope: what competes, or what makes a rule of a sparsity.
            criterion: what a weight is worth; None for its magnitude.
            statistics: what the criterion needs, collected anew whenever masks change.
            keep: patterns of names to leave whole.
            only: of those to take; None for all.
            unsuited: what becomes of weights that the pattern does not suit.

        Raises:
            PenjingError: PJ811, no such pattern or scope; PJ816, a name fits nothing.
        """
        self.model, self.schedule, self.optimizer = model, schedule, optimizer
        self._pattern = pattern_named(pattern)
        self._rule = RULES[scope] if isinstance(scope, str) and scope in RULES else scope
        if isinstance(self._rule, str):
            raise PenjingError("PJ811", f"there is no scope `{scope}`", tries=[f"`{name}`" for name in RULES])
        self._criterion = criterion or Magnitude()
        self._statistics, self._unsuited = statistics, unsuited
        self._weights, self.notes = weights(model, keep=keep, only=only)
        self.masks, self.steps, self._now = Masks(), 0, 0.0

    @property
    def sparsity(self) -> float:
        """Share of zeros that the schedule has asked for up to now."""
        return self._now

    def step(self) -> bool:
        """After a step of the optimizer: tightens masks where that is due, and holds zeros.

        Returns:
            Whether masks have changed.

        Raises:
            PenjingError: PJ810, PJ812, PJ813, masks cannot be chosen; weights are as they were.
        """
        wanted = self.schedule.at(self.steps)
        due = wanted > self._now
        if due:
            self.masks = self._chosen(wanted)
            self._now = wanted
        self.steps += 1
        self.hold()
        return due

    def hold(self) -> None:
        """Sets what is gone to zero, and the optimizer's memory of it."""
        found = [(self._weights[name].tensor, mask) for name, mask in self.masks.items()]
        clear([(weight, ~mask.to(weight.device)) for weight, mask in found], self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """What is to be saved, beside model and optimizer, for a training that goes on later."""
        return {"steps": self.steps, "sparsity": self._now, "masks": dict(self.masks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self.steps, self._now, self.masks = state["steps"], state["sparsity"], Masks(state["masks"])

    def _chosen(self, sparsity: float) -> Masks:
        pattern, rule = self._pattern, None
        if isinstance(pattern, NM):
            eased = pattern.eased(sparsity)
            if eased is None:
                return self.masks
            pattern = eased
        else:
            assert callable(self._rule)
            rule = self._rule(sparsity)
        statistics = self._statistics() if self._statistics else Statistics()
        worth: dict[str, Tensor] = {
            name: self._criterion.worth(name, one.tensor.detach(), statistics).detach()
            for name, one in self._weights.items()
        }
        found = choose(
            worth, pattern, rule, finish=self._criterion.finish, before=self.masks or None,
            outs={name: one.out for name, one in self._weights.items()}, unsuited=self._unsuited,
            nothing=True,
        )  # fmt: skip
        self.notes |= found.notes
        return found.masks


RULES: dict[str, Callable[[float], Rule]] = {
    "global": lambda share: Sparsity(share, "global"),
    "layer": lambda share: Sparsity(share, "layer"),
    "row": lambda share: Sparsity(share, "row"),
    "erk": ERK,
}
"""What competes, by name: sparsity -> rule."""
