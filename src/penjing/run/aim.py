"""What a round aims at, on the way from the original to the budget, or down to a floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penjing.plan import spaced
from penjing.run.adjust import Amounts
from penjing.run.iterative import Iterative
from penjing.run.job import Job


@dataclass(frozen=True)
class Aim:
    """What the network of a round may cost.

    Attributes:
        limits: by quantity.
        share: the largest share of its units that any axis may keep; None for all of them.
        exact: by axis name, how much of it to keep.
    """

    limits: Amounts
    share: float | None
    exact: Mapping[str, float | int]

    def record(self) -> dict[str, float]:
        """The bounds by quantity."""
        return {**self.limits, **({} if self.share is None else {"units": self.share})}


class Way:
    """Every aim between the original, at 0, and the end.

    Attributes:
        ends: the place of the budget, 1; None where there is only a floor, and it goes on and on.
        schedule: the rounds.
    """

    def __init__(self, job: Job, before: Amounts, limits: Amounts, sizes: Mapping[str, int]) -> None:
        """Nothing is worked out yet.

        Args:
            job: what is asked.
            before: the original's figures by quantity.
            limits: the budget in absolute amounts.
            sizes: of every axis.
        """
        self._job, self._before, self._sizes = job, before, sizes
        self.ends = 1.0 if job.budget.bounds or job.exact else None
        self.schedule = job.schedule or Iterative(rounds=1 if self.ends else 4)
        self._limits = limits if self.ends else {minimised(job, before): 0.0}

    @property
    def bounded(self) -> frozenset[str]:
        """The quantities that limits are given for."""
        return frozenset(self._limits)

    def place(self, number: int) -> float:
        """Of a round, from 1."""
        return number / self.schedule.rounds if self.ends else float(number)

    def aim(self, place: float, *, tighter: float = 1.0) -> Aim:
        """What the network at a place may cost; a latency `tighter` times that."""
        if not self.ends:
            factor = self.schedule.shrink**place
            return Aim({name: self._before[name] * factor for name in self._limits}, None, {})

        def at(before: float, target: float) -> float:
            return spaced(before, target, place, self.schedule.spacing)

        limits = {name: at(self._before[name], limit) for name, limit in self._limits.items()}
        if "latency" in limits:
            limits["latency"] *= tighter
        share = self._job.budget.share
        exact = {
            name: at(1.0, kept) if isinstance(kept, float) else round(at(self._sizes[name], kept))
            for name, kept in self._job.exact.items()
        }
        return Aim(limits, None if share is None else at(1.0, share), exact)


def minimised(job: Job, before: Amounts) -> str:
    """What is made small where the budget is a floor alone: what the device is there to tell."""
    named = str(job.device.record()["name"])
    return "latency" if "latency" in before else named if named in before else "macs"
