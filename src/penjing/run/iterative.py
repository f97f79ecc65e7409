"""How a network is cut in rounds: a little at a time, with recovery in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penjing.errors import PenjingError
from penjing.plan import SPACINGS, Spacing
from penjing.recover import Step


@dataclass(frozen=True)
class Iterative:
    """Cuts in rounds; in each, units are ranked on the network as the round before has left it.

    Attributes:
        rounds: how many lead to the budget; not used where the budget is a floor alone, without a target.
        spacing: how the limits of the rounds lie between the original and the budget: "geometric", every
            round takes the same share; "linear", the same amount; "cubic", much at first and little at last
            (AGP). For a floor alone it is geometric.
        recover: steps after every round; None for those of `pj.prune(recover=...)`. Where they are given,
            even as `()`, those of `pj.prune` follow once, after the last round.
        shrink: for a floor alone: what a round may cost, as a share of what the round before might.
        bisections: where a round breaks the floor: how many networks to try between it and the last one
            that holds.

    Source: Han et al. 2015, arXiv:1506.02626, of weights; spacings as `penjing.plan.spaced`.
    """

    rounds: int = 4
    spacing: Spacing = "geometric"
    recover: Sequence[Step] | Step | None = None
    shrink: float = 0.8
    bisections: int = 3

    def __post_init__(self) -> None:
        """Refuses what cannot be meant.

        Raises:
            PenjingError: PJ515, an option out of range.
        """
        steps = self.steps
        whole = {"rounds": (self.rounds, 1), "bisections": (self.bisections, 0)}
        sound = {
            **{name: (_is_count(value, least), f"{least} or more") for name, (value, least) in whole.items()},
            "spacing": (self.spacing in SPACINGS, " or ".join(f'"{name}"' for name in SPACINGS)),
            "shrink": (_is_share(self.shrink), "between 0 and 1"),
            "recover": (steps is None or all(isinstance(step, Step) for step in steps), "steps of recovery"),
        }
        for name, (fits, asked) in sound.items():
            if not fits:
                raise PenjingError(
                    "PJ515", f"Iterative({name}={getattr(self, name)!r:.60})", because=f"{name} is {asked}"
                )

    @property
    def steps(self) -> tuple[Step, ...] | None:
        """`recover` as a tuple."""
        if self.recover is None or isinstance(self.recover, Step):
            return None if self.recover is None else (self.recover,)
        return tuple(self.recover)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_share(value: object) -> bool:
    return isinstance(value, float) and 0 < value < 1
