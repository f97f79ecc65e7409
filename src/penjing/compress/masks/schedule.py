"""How sparse a network is at each step of a training. Pure: a step in, a share of zeros out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from penjing.compress.masks.share import checked_share
from penjing.errors import PenjingError


class Schedule(ABC):
    """Sparsity by step; never less at a later step. Steps count from 0."""

    @abstractmethod
    def at(self, step: int) -> float:
        """The share of weights that are zero from this step on, until the next that changes it."""


@final
@dataclass(frozen=True)
class OneShot(Schedule):
    """All at once.

    Attributes:
        target: share of zeros.
        step: from which on.
    """

    target: float
    step: int = 0

    def __post_init__(self) -> None:
        checked_share(f"OneShot({self.target!r})", self.target)

    def at(self, step: int) -> float:
        """Nothing, then all."""
        return self.target if step >= self.step else 0.0


@final
@dataclass(frozen=True)
class Iterative(Schedule):
    """Rounds: each takes the same share of what is left, with training in between.

    Attributes:
        target: share of zeros after the last round.
        rounds: how many, at least 1.
        every: steps from one to the next, at least 1.
        begin: step of the first.

    Source: Han et al. 2015, arXiv:1506.02626; equal shares as in Frankle & Carbin 2019, arXiv:1803.03635.
    """

    target: float
    rounds: int
    every: int = 1
    begin: int = 0

    def __post_init__(self) -> None:
        checked_share(f"Iterative({self.target!r})", self.target)
        _positive("Iterative", rounds=self.rounds, every=self.every)

    def at(self, step: int) -> float:
        """`1 - (1 - target)**(k / rounds)` after the k-th."""
        done = min(self.rounds, max(0, (step - self.begin) // self.every + 1))
        return self.target if done == self.rounds else 1 - (1 - self.target) ** (done / self.rounds)


@dataclass(frozen=True)
class _Ramp(Schedule):
    """From one sparsity to another between two steps.

    Attributes:
        target: share of zeros at the end.
        begin: the step at which it begins to rise.
        end: the step at which it is there.
        every: steps from one change to the next, at least 1; at `end` the target is reached in any case.
        initial: share of zeros from `begin` on; before it there are none.
    """

    target: float
    begin: int
    end: int
    every: int = 1
    initial: float = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        checked_share(f"{name}({self.target!r})", self.target)
        checked_share(f"{name}(initial={self.initial!r})", self.initial)
        _positive(name, every=self.every)
        if self.end <= self.begin:
            raise PenjingError(
                "PJ817",
                f"{name}(begin={self.begin}, end={self.end}) ends before it has started",
                tries=["an `end` after `begin`", "OneShot: all at once"],
            )
        if self.initial > self.target:
            raise PenjingError(
                "PJ817",
                f"{name} goes from {self.initial} to {self.target}",
                because="weights that are gone do not come back",
                tries=["an `initial` of at most the target"],
            )

    def at(self, step: int) -> float:
        """By the share of the way that is done."""
        if step < self.begin:
            return 0.0
        if step >= self.end:
            return self.target
        done = (step - self.begin) // self.every * self.every / (self.end - self.begin)
        return self._between(done)

    @abstractmethod
    def _between(self, done: float) -> float:
        """After a share of the way, from 0 up to but not including 1."""


@final
@dataclass(frozen=True)
class Cubic(_Ramp):
    """Much at first, little at last: `target + (initial - target) * (1 - done)**3`.

    Source: Zhu & Gupta 2017, arXiv:1710.01878, eq. 1: with n rounds of `every` steps, `end = begin + n *
    every`.
    """

    def _between(self, done: float) -> float:
        return float(self.target + (self.initial - self.target) * (1 - done) ** 3)


@final
@dataclass(frozen=True)
class Exponential(_Ramp):
    """What is left shrinks by the same factor at every step."""

    def _between(self, done: float) -> float:
        return float(1 - (1 - self.initial) ** (1 - done) * (1 - self.target) ** done)


@final
@dataclass(frozen=True)
class Multistep(Schedule):
    """Given by hand.

    Attributes:
        steps: step -> share of zeros from then on.
    """

    steps: Mapping[int, float]

    def __post_init__(self) -> None:
        for step, share in self.steps.items():
            checked_share(f"Multistep, step {step}: {share!r}", share)
        ordered = dict(sorted(self.steps.items()))
        shares = list(ordered.values())
        if not shares or shares != sorted(shares):
            raise PenjingError(
                "PJ817",
                f"Multistep({dict(self.steps)}) is no schedule",
                because="weights that are gone do not come back" if shares else "it holds no step",
                tries=["Multistep({0: 0.5, 1000: 0.8})"],
            )
        object.__setattr__(self, "steps", MappingProxyType(ordered))

    def at(self, step: int) -> float:
        """That of the last step that has come."""
        return max((share for first, share in self.steps.items() if first <= step), default=0.0)


def _positive(name: str, **given: int) -> None:
    for option, value in given.items():
        if value < 1:
            raise PenjingError("PJ817", f"{name}({option}={value}): {option} is at least 1")
