"""The allocator: how many units every axis keeps, so that the most worth stays within the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from penjing.errors import PenjingError
from penjing.network import Network
from penjing.plan.choices import FLOOR, MOST_LEVELS, Choice, Steps, Wishes, choices, chosen, step_of
from penjing.plan.costs import Cost
from penjing.plan.depth import inside
from penjing.plan.frontier import Frontier
from penjing.plan.optimum import gap_of, optimum
from penjing.plan.plan import Plan
from penjing.plan.point import Point, Problem
from penjing.plan.quantity import enough, written

UNUSED = 0.04
"""A budget of which a larger part is left unused has been met with too coarse a choice;"""

WASTEFUL = 0.05
"""if that happens to more than this share of all budgets, steps are halved."""

FINEST = 4
"""No step is halved below this: few processors work in narrower vectors."""

MANY = 30
"""So many choices combine to any cost, and their steps are as good as they are."""


@dataclass(frozen=True)
class Allocation:
    """A plan and what the cost functions say of it.

    Attributes:
        plan: the kept units.
        worth: the share of all worth that they hold.
        costs: by quantity, of every cost that the allocator knows.
        limits: what they had to stay within.
    """

    plan: Plan
    worth: float
    costs: dict[str, float]
    limits: dict[str, float]


@dataclass(frozen=True)
class Judged:
    """A plan beside the best that there can be.

    Attributes:
        allocation: of `Allocator.allocate`.
        worth: the share of all worth that the best plan found by the solver holds; None where it found none.
        bound: no plan within the limits holds a larger share, of the widths that were to choose from.
        gap: the share of `bound` that the allocation lacks, at most.
        proven: whether the solver came to its end.
    """

    allocation: Allocation
    worth: float | None
    bound: float
    gap: float
    proven: bool


class Allocator:
    """Allocations of one network for any number of limits; what limits have in common is worked out once."""

    def __init__(
        self,
        net: Network,
        scores: Mapping[str, Tensor],
        costs: Mapping[str, Cost],
        *,
        steps: Steps = 1,
        parts: int = 1,
        floor: float | None = None,
        share: float | None = None,
        keep: Sequence[str] = (),
        only: Sequence[str] | None = None,
        exact: Mapping[str, int | float] | None = None,
        within: Mapping[str, Sequence[int]] | None = None,
        depth: bool = False,
        gone: Sequence[str] = (),
    ) -> None:
        """Works out what there is to choose.

        Args:
            net: the network.
            scores: from `criteria.score`: axis name -> worth of each unit.
            costs: by quantity.
            steps: widths are multiples of it, one number for all or by axis name; what a device is quick
                at. The whole axis is always a choice, and below one step so are its halves.
            parts: what steps are divided by, down to `FINEST`: more widths to choose from.
            floor: every axis keeps at least this share of its units, and at least one. None for `FLOOR`, or
                halves of it where a budget cannot be met otherwise.
            share: every axis keeps at most this share.
            keep: name patterns (`fnmatch`) of axes to leave whole.
            only: name patterns of the axes that may be cut; None for all.
            exact: axis name -> units to keep: an int is a count, a float a share. No step and no floor
                applies.
            within: axis name -> units that are still there; axes not named have all of theirs.
            depth: whether residual branches may go as a whole, where their switch (`net.switches`) is worth
                too little for what they cost.
            gone: names of branches that are gone already.

        Raises:
            PenjingError: PJ505, a pattern matches nothing; PJ506, an exact number that cannot be; PJ508,
                wishes that contradict each other; PJ201, an exact number for an axis that does not exist.
        """
        missing = [axis.name for axis in net.prunable if axis.name not in scores]
        assert not missing, f"no scores for {missing}"
        self._net, self._scores, self._steps, self._parts = net, scores, steps, parts
        first = FLOOR if floor is None else floor
        self._wishes = Wishes(keep, only, exact, share, first, within or {}, depth, gone)
        self._yields = floor is None
        self._lower: Allocator | None = None
        self._costs = dict(costs)
        self._problem = self._with_steps(1)
        self._full = tuple(len(choice.levels) - 1 for choice in self._problem.choices)
        self._total = sum(choice.whole for choice in self._problem.choices)
        self._frontiers: dict[tuple[Any, ...], Frontier] = {}

    def allocate(self, limits: Mapping[str, float]) -> Allocation:
        """The most valuable plan found whose costs are all within `limits`.

        Where nothing has to be cut for that, nothing is, besides what was asked for by hand. Under one
        limit, and under several in the same proportion, a larger budget never keeps less worth at one floor.

        Args:
            limits: by quantity, in the units of its cost; may be empty.

        Raises:
            PenjingError: PJ503, no choice is within the limits; PJ507, a limit on what no cost function
                tells.
        """
        owner, problem, at = self._best(limits)
        return owner._allocation(problem, at, limits)

    def judged(self, limits: Mapping[str, float], *, seconds: float = 60.0) -> Judged:
        """The same, and how far from the best it can be, by a mixed-integer program.

        Args:
            limits: as for `allocate`.
            seconds: for the solver.

        Raises:
            PenjingError: as `allocate`; PJ516, the program cannot be put up for these costs, or is too large.
        """
        owner, problem, at = self._best(limits)
        allocation = owner._allocation(problem, at, limits)
        bounded = Problem(problem.choices, {quantity: owner._costs[quantity] for quantity in limits})
        found = optimum(bounded, limits, seconds=seconds)
        whole, worth = owner._total or 1.0, problem.worth(at)
        best = None if found.at is None else found.worth / whole
        bound = max(found.bound, worth)
        return Judged(allocation, best, bound / whole, gap_of(worth, bound), found.proven)

    def _best(self, limits: Mapping[str, float]) -> tuple[Allocator, Problem, Sequence[int]]:
        """The most valuable choice found, of this allocator or of one with a lower floor."""
        problem = self._problem
        for quantity in limits:
            if quantity not in problem.costs:
                raise PenjingError(
                    "PJ507",
                    f"cannot plan for a budget of {quantity}",
                    because=f"costs are known of {', '.join(problem.costs) or 'nothing'} only",
                )
        full = problem.totals(self._full)
        if all(full[quantity] <= limit for quantity, limit in limits.items()):
            return self, problem, self._full
        frontiers = [self._frontier(limits, depth=False)]
        frontiers += [self._frontier(limits, depth=True)] if self._wishes.depth else []
        found = [(frontier, best) for frontier in frontiers if (best := frontier.best(limits)) is not None]
        if not found:
            lower = self._with_half_the_floor()
            if lower is None:
                raise self._impossible(frontiers[-1], limits)
            return lower._best(limits)
        frontier, best = max(found, key=lambda one: one[1].worth)  # of equals the first: with every branch
        return self, frontier.problem, best.at

    def _with_half_the_floor(self) -> Allocator | None:
        """The same with fewer units to keep of every axis; None where nothing comes of it."""
        wishes = self._wishes
        largest = max((axis.size for axis in self._net.prunable), default=0)
        if self._lower is None and self._yields and wishes.floor * largest > 1:
            self._lower = Allocator(
                self._net, self._scores, self._costs,
                steps=self._steps, parts=self._parts, floor=wishes.floor / 2,
                share=wishes.share, keep=wishes.keep,
                only=wishes.only, exact=wishes.exact, within=wishes.within, depth=wishes.depth,
                gone=wishes.gone,
            )  # fmt: skip
            self._lower._yields = True
        return self._lower

    def _with_steps(self, parts: int, *, depth: bool = False) -> Problem:
        """The choices at steps divided by `parts` once more, with every cost."""
        parts *= self._parts

        def steps(name: str) -> int:
            whole = step_of(self._steps, name)
            return max(min(whole, FINEST), whole // parts)

        wishes = replace(self._wishes, depth=depth)
        found = choices(self._net, self._scores, steps, wishes, most=MOST_LEVELS * parts)
        return Problem(found, self._costs)

    def _frontier(self, limits: Mapping[str, float], *, depth: bool) -> Frontier:
        """The frontier in the direction of these limits, with or without branches that may go."""
        top = max(limits.values())
        direction = tuple(
            sorted((quantity, float(f"{limit / top:.9e}")) for quantity, limit in limits.items())
        )
        if (depth, direction) not in self._frontiers:
            self._frontiers[depth, direction] = self._fine_enough(dict(direction), depth=depth)
        return self._frontiers[depth, direction]

    def _fine_enough(self, direction: Mapping[str, float], *, depth: bool) -> Frontier:
        """The frontier at the steps of the device, or at halves of them where those leave too much unused."""
        bounded = {quantity: self._costs[quantity] for quantity in direction}
        whole = self._with_steps(1, depth=depth).choices if depth else self._problem.choices
        frontier = Frontier(Problem(whole, bounded), direction)
        for parts in (2, 4, 8, 16):
            if len(frontier.problem.choices) > MANY or frontier.wasteful(UNUSED) <= WASTEFUL:
                break
            finer = self._with_steps(parts, depth=depth).choices
            if any(a.levels != b.levels for a, b in zip(finer, frontier.problem.choices, strict=True)):
                frontier = Frontier(Problem(finer, bounded), direction)
        return frontier

    def _allocation(self, problem: Problem, at: Sequence[int], limits: Mapping[str, float]) -> Allocation:
        kept, sizes = {}, {}
        dropped = set(self._wishes.gone)
        for choice, level in zip(problem.choices, at, strict=True):
            for name in choice.axes:
                size = self._net.axis(name).size
                if choice.levels[level] == 0:
                    dropped |= {one.branch.name for one in [self._net.switches.get(name)] if one}
                elif choice.levels[level] < size:
                    kept[name] = chosen(
                        self._scores[name], choice.levels[level], self._wishes.within.get(name)
                    )
                    sizes[name] = size
        counts, worth = problem.counts(at), problem.worth(at)
        names = tuple(branch.name for branch in self._net.branches if branch.name in dropped)
        gone = inside(self._net, Plan(dropped=names)) if names else frozenset()
        return Allocation(
            Plan(
                kept={name: units for name, units in kept.items() if name not in gone},
                dropped=names,
                sizes={name: size for name, size in sizes.items() if name not in gone},
            ),
            worth / self._total if self._total else 1.0,
            {quantity: cost.total(counts) for quantity, cost in self._costs.items()},
            dict(limits),
        )

    def _impossible(self, frontier: Frontier, limits: Mapping[str, float]) -> PenjingError:
        """Says which limit cannot be met, what can, and which axis stands in the way."""
        point = Point(frontier.problem, frontier.smallest().at)
        quantity = max(limits, key=lambda q: point.totals[q] / limits[q])
        smallest, limit = point.totals[quantity], limits[quantity]
        share = smallest / self._costs[quantity].total({})
        name, why = self._binding(quantity, point)
        return PenjingError(
            "PJ503",
            f"{quantity} {written(quantity, limit)} cannot be met: "
            f"the smallest reachable is {written(quantity, smallest)}, {share:.3g}x of the original",
            because=f"`{name}` binds: {why}" if name else "what is left depends on no axis that may be cut",
            path=", ".join(dict.fromkeys(m.tensor for m in self._net.axis(name).members[:4])) if name else "",
            tries=[
                f"`{enough(quantity, smallest)}`",
                *(_further(name, point.counts[name], why) if name else []),
            ],
        )

    def _binding(self, quantity: str, point: Point) -> tuple[str, str]:
        """The axis that would save most if a single unit of it stayed, and why more do; "" if none would."""
        most, best = 0.0, ("", "")
        for choice in point.problem.choices:
            count = point.counts[choice.axes[0]]
            line = self._costs[quantity].line(choice.axes, (1, count), point.counts)
            saving = float(line[1] - line[0])
            if saving > most:
                most, best = saving, (choice.axes[0], self._why(choice, count))
        return best

    def _why(self, choice: Choice, count: int) -> str:
        size = self._net.axis(choice.axes[0]).size
        why = choice.stuck or f"its floor (a share of {self._wishes.floor:g})"
        return f"it keeps {count} of {size} units, {why}"


def _further(name: str, count: int, why: str) -> list[str]:
    """What the user can do about an axis that binds."""
    if "floor" in why:
        return [f'below the floor, by hand: exact={{"{name}": {max(1, count // 2)}}}']
    return [f"let `{name}` be cut: change keep= or only="] if "kept whole" in why else []


def allocate(
    net: Network,
    scores: Mapping[str, Tensor],
    limits: Mapping[str, float],
    costs: Mapping[str, Cost],
    *,
    steps: Steps = 1,
    floor: float | None = None,
    share: float | None = None,
    keep: Sequence[str] = (),
    only: Sequence[str] | None = None,
    exact: Mapping[str, int | float] | None = None,
    depth: bool = False,
) -> Allocation:
    """The most valuable plan found whose costs are all within `limits`: `Allocator(...).allocate(limits)`."""
    allocator = Allocator(
        net, scores, costs,
        steps=steps, floor=floor, share=share, keep=keep, only=only, exact=exact, depth=depth,
    )  # fmt: skip
    return allocator.allocate(limits)


def uniform(
    net: Network,
    scores: Mapping[str, Tensor],
    share: float,
    *,
    costs: Mapping[str, Cost] | None = None,
    keep: Sequence[str] = (),
    only: Sequence[str] | None = None,
    exact: Mapping[str, int | float] | None = None,
) -> Allocation:
    """That share of every axis that may be cut, alike; which units, scores say.

    Args:
        net: the network.
        scores: axis name -> worth of each unit.
        share: above 0; of each axis the nearest number of units stays, at least one.
        costs: what to work out for the allocation, by quantity.
        keep: name patterns of axes to leave whole.
        only: name patterns of the axes that may be cut; None for all.
        exact: axis name -> units to keep instead: an int is a count, a float a share.

    Raises:
        PenjingError: as `Allocator`.
    """
    return Allocator(
        net, scores, costs or {}, share=min(share, 1.0), keep=keep, only=only, exact=exact
    ).allocate({})
