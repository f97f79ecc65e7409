"""The rounds of a network that is cut little by little, down to its budget or to the floor of its metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from torch import nn

from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan import counts_of
from penjing.plan.quantity import written
from penjing.recover import RecoveryRecord, Step, measured
from penjing.report import RoundLine
from penjing.run.aim import Aim, Way
from penjing.run.ground import after, untouched
from penjing.run.search import Found, Ground, Search
from penjing.run.session import Session

MOST: Final = 100
"""Rounds down to a floor: more would need a `shrink` of nearly 1, or a metric that no cut can change."""

_IN_RESERVE: Final = 3
"""Networks that hold the floor and are kept, in case the shipped file of the smallest does not."""

Recover = Callable[[Found, Sequence[Step], str], tuple[RecoveryRecord, ...]]
"""Applies steps to what was found; the last argument begins their names in the journal."""


@dataclass(frozen=True, eq=False)
class Reached:
    """Where a round ended.

    Attributes:
        name: of the round, in the journal.
        place: on the way.
        found: what was cut, with the weights that recovery has given it.
    """

    name: str
    place: float
    found: Found


class Rounds:
    """The rounds of one job.

    Attributes:
        lines: of all rounds so far, by name, for the report.
    """

    def __init__(
        self, session: Session, net: Network, way: Way, search: Search, recover: Recover, floor: float | None
    ) -> None:
        """Nothing is done yet.

        Args:
            session: of the run.
            net: the original.
            way: what each round aims at.
            search: for a plan within an aim.
            recover: applies steps.
            floor: the least metric that is allowed; None for any.
        """
        self._session, self._net, self._way, self._search = session, net, way, search
        self._recover, self._floor = recover, floor
        steps = way.schedule.steps
        self._steps = session.job.recover if steps is None else steps
        self.lines: dict[str, RoundLine] = {}

    def run(self) -> list[Reached]:
        """Goes on until the budget is met, the floor broken, or nothing smaller to be had.

        Returns:
            The last few that hold the floor, the smallest last.

        Raises:
            PenjingError: PJ503, the budget cannot be met; PJ512, the floor never held.
        """
        if self._way.ends:  # before hours of training
            aim = self._way.aim(self._way.ends)
            self._search.check(aim.limits, self._ground(None, aim))
        held: list[Reached] = []
        for number, place in enumerate(self._places(), 1):
            try:
                reached = self.round(f"round-{number}", held[-1] if held else None, place)
            except PenjingError as error:
                if error.code != "PJ503" or self._way.ends or not held:
                    raise
                break  # as small as it gets, and the floor holds
            if not self.holds(reached):
                held += self._between(held[-1] if held else None, reached)
                break
            if held and reached.name == held[-1].name:
                held.pop()
            held.append(reached)
            del held[:-_IN_RESERVE]
        if not held:
            raise self.never_held()
        return held

    def round(self, name: str, here: Reached | None, place: float, *, tighter: float = 1.0) -> Reached:
        """Cuts what is there a little more, recovers it, and measures the metric.

        Args:
            name: of the round; another for each.
            here: where it begins; None for the original.
            place: on the way.
            tighter: share of the latency's limit to plan for.

        Returns:
            Where it ended; under the name of the round where it began, if there is nothing to cut.

        Raises:
            PenjingError: PJ503, there is no such network.
        """
        aim = self._way.aim(place, tighter=tighter)
        ground = self._ground(here, aim)
        found = self._search.run(aim.limits, ground, f"{name}-plan")
        if here is not None and found.plan == here.found.plan and self.holds(here):
            return replace(here, place=place)
        recovery = self._recover(found, self._steps, f"{name}-")
        metric = self._metric(found.cut.model, f"{name}-metric")
        self.lines[name] = RoundLine(
            limits=aim.record(),
            measured=dict(found.measured),
            kept=counts_of(self._net, found.plan),
            metric=metric,
            held=None if self._floor is None or metric is None else metric >= self._floor,
            shipped=False,
            recovery=recovery,
            notes=tuple(
                f"`{axis}` is no axis of the smaller network: left as it is" for axis in ground.stuck
            ),
        )
        told = {"limits", "measured", "kept", "metric", "held"}
        self._session.log.event("round", name=name, **self.lines[name].model_dump(mode="json", include=told))
        return Reached(name, place, found)

    def holds(self, reached: Reached) -> bool:
        """Whether the floor holds there, or there is none."""
        return self.lines[reached.name].held is not False

    def never_held(self) -> PenjingError:
        """Nothing that was tried holds the floor."""
        lines = [line for line in self.lines.values() if line.metric is not None]
        best = max(lines, key=lambda line: line.metric or 0.0)
        known = {name: value for name, value in best.measured.items() if name in self._way.bounded}
        at = ", ".join(f"{name} {written(name, value)}" for name, value in known.items())
        many = f"{len(lines)} networks" if len(lines) > 1 else "the network that was tried"
        return PenjingError(
            "PJ512",
            f"`{self._session.job.budget.floor}` cannot be held: the best of {many} has {best.metric:.4g}",
            because=(f"that was at {at}; " if at else "") + f"the floor is {self._floor:.4g}",
            tries=[
                "a lower floor",
                "more recovery: recover=[pj.Reconstruct(), pj.FineTune(...)]",
                "smaller steps: schedule=pj.Iterative(rounds=8, bisections=5)",
            ],
        )

    def _places(self) -> Iterator[float]:
        rounds = self._way.schedule.rounds if self._way.ends else MOST
        return (self._way.place(number) for number in range(1, rounds + 1))

    def _between(self, held: Reached | None, broken: Reached) -> list[Reached]:
        """Halves the way between the last network that holds the floor and the first that does not."""
        found: list[Reached] = []
        low, high = held.place if held else 0.0, broken.place
        for number in range(1, self._way.schedule.bisections + 1):
            here, place = found[-1] if found else held, (low + high) / 2
            reached = self.round(f"between-{number}", here, place)
            if self.holds(reached):
                low = place
                found += [] if here and reached.name == here.name else [reached]
            else:
                high = place
        return found

    def _metric(self, model: nn.Module, name: str) -> float | None:
        evaluate, session = self._session.job.evaluate, self._session
        if evaluate is None:
            return None
        with session.log.stage("measure", "evaluating"):
            entry = session.journal.once(name, lambda _: {"metric": measured(evaluate, model)})
        return float(entry.record["metric"])

    def _ground(self, here: Reached | None, aim: Aim) -> Ground:
        if here is None:
            return untouched(self._session, self._net, aim)
        made = here.found
        return after(self._session, self._net, made.plan, made.cut.model, aim, f"{here.name}-scores")
