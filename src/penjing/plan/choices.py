"""What there is to choose: how many units each axis may keep, and what each number is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from penjing.errors import PenjingError
from penjing.network import Axis, Network

FLOOR = 0.1
"""The share of an axis that stays at least, unless told otherwise, or a budget cannot be met so.

No criterion sees that an axis near nothing is a bottleneck for all that follows: scores are first-order,
and add up. At a tenth of its width an axis pays a hundredth of the multiplications between two such axes,
so that hardly a budget needs less.
"""

MOST_LEVELS = 32
"""Where its step allows more widths than about so many, an axis is stepped through more coarsely."""

Steps = int | Callable[[str], int]
"""Axis name -> widths worth keeping a multiple of; one number for all."""


@dataclass(frozen=True)
class Wishes:
    """What the user says about axes by hand.

    Attributes:
        keep: patterns of axes to leave whole.
        only: patterns of the axes that may be cut; None for all.
        exact: axis name -> units to keep, as a count (int) or a share (float); no step and no floor
            applies.
        share: the largest share that any axis may keep; None for all of it.
        floor: the share that an axis keeps at least.
        within: axis name -> units that are still there, of which some are to be kept; axes not named have
            all of theirs.
        depth: whether residual branches may go as a whole.
        gone: names of branches that are gone already.
    """

    keep: Sequence[str] = ()
    only: Sequence[str] | None = None
    exact: Mapping[str, int | float] | None = None
    share: float | None = None
    floor: float = FLOOR
    within: Mapping[str, Sequence[int]] = field(default_factory=dict)
    depth: bool = False
    gone: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuses what cannot be meant.

        Raises:
            PenjingError: PJ508, a share of every axis, and whole branches.
        """
        if self.depth and self.share is not None:
            raise PenjingError(
                "PJ508",
                "a share of every axis alike leaves no branch to drop",
                because="both a budget of units and depth are asked for",
                tries=["a budget of latency, macs or params", "depth=False"],
            )


@dataclass(frozen=True)
class Choice:
    """One number to choose: how many units each of some axes keeps, the same for all of them.

    Attributes:
        axes: their names; more than one where the user's code makes them equally long.
        levels: the numbers to choose from, increasing; the last one is the most that may stay. With none,
            a whole branch goes.
        worth: of the most valuable units, for each level.
        whole: worth of all units.
        stuck: why there is but one level; empty otherwise.
    """

    axes: tuple[str, ...]
    levels: tuple[int, ...]
    worth: NDArray[np.float64]
    whole: float
    stuck: str


def choices(
    net: Network, scores: Mapping[str, Tensor], steps: Steps, wishes: Wishes, *, most: int = MOST_LEVELS
) -> tuple[Choice, ...]:
    """A choice for every axis that may be cut, those that must keep equal numbers together.

    Raises:
        PenjingError: PJ505, a pattern matches nothing; PJ506, an exact number that cannot be; PJ508, wishes
            that contradict each other; PJ201, an exact number for an axis that does not exist.
    """
    stuck = _stuck(net, wishes)
    exact = _exact(net, wishes)
    found = []
    for names in _together(net):
        sizes = {net.axis(name).size for name in names}
        left = min(len(wishes.within.get(name, range(net.axis(name).size))) for name in names)
        numbers = {exact[name] for name in names if name in exact}
        levels: tuple[int, ...]
        if len(numbers) > 1:
            raise PenjingError(
                "PJ508",
                f"{_listed(names)} keep equal numbers of units, and {_listed_numbers(numbers)} are asked for",
                because="the model's own code makes them equally long",
                tries=["give one of them only"],
            )
        reason = next((stuck[name] for name in names if name in stuck), "")
        if len(sizes) > 1:
            reason = f"tied to equal numbers with axes of other sizes: {_listed(names)}"
        if numbers:
            if reason:
                raise PenjingError(
                    "PJ508",
                    f"cannot keep {_listed_numbers(numbers)} units of {_listed(names)}",
                    because=reason,
                )
            levels, reason = (min(left, *numbers),), "its number of units is given by hand"
        elif reason:
            levels = (left,)
        else:
            step = math.lcm(*(step_of(steps, name) for name in names))
            levels = _levels(min(sizes), left, step, wishes, most)
            reason = (
                "" if len(levels) > 1 else "no smaller width is a multiple of its step and above its floor"
            )
        if _is_gone(net, names, wishes):
            levels, reason = (0,), "its branch is gone"
        elif len(levels) > 1 and wishes.depth and _switches(net, names, stuck.keys() | exact.keys()):
            levels = (0, *levels)
        running = _running(names, left, scores, wishes)
        found.append(Choice(names, levels, running[list(levels)], float(running[-1]), reason))
    return tuple(found)


def check_wishes(net: Network, wishes: Wishes) -> None:
    """Refuses wishes that `choices` would refuse: before anything is measured or scored, if asked then.

    Raises:
        PenjingError: as `choices`.
    """
    choices(net, {}, 1, wishes)


def chosen(scores: Tensor, count: int, within: Sequence[int] | None = None) -> tuple[int, ...]:
    """The `count` units of the highest score, in order of their indices; of equal ones the earlier.

    `within` are those there are; None for all.
    """
    units = np.arange(len(scores)) if within is None else np.array(within)
    order = np.argsort(-scores.numpy()[units], kind="stable")
    return tuple(sorted(int(unit) for unit in units[order[:count]]))


def rounded(share: float, size: int) -> int:
    """The number nearest to `share` of `size`, at least 1."""
    return max(1, math.floor(share * size + 0.5))


def _switches(net: Network, names: Sequence[str], wanted: Collection[str]) -> bool:
    """Whether a branch goes, and nothing else that is wanted, where none of these axes keeps a unit."""
    inner = next((net.switches[name].inner for name in names if name in net.switches), frozenset[str]())
    return inner.issuperset(names) and inner.isdisjoint(wanted)


def _is_gone(net: Network, names: Sequence[str], wishes: Wishes) -> bool:
    return any(name in net.switches and net.switches[name].branch.name in wishes.gone for name in names)


def _running(
    names: Sequence[str], size: int, scores: Mapping[str, Tensor], wishes: Wishes
) -> NDArray[np.float64]:
    """Worth of the best 0, 1, 2 ... units of every axis together."""
    total = np.zeros(size + 1)
    for name in names:
        if name in scores:
            own = scores[name].numpy()
            own = own[list(wishes.within[name])] if name in wishes.within else own
            total[1:] += np.cumsum(np.sort(own)[::-1])[:size]
    return total


def _levels(size: int, left: int, step: int, wishes: Wishes, most_levels: int) -> tuple[int, ...]:
    """The widths to choose from, where `left` of `size` units are still there.

    Multiples of the step, halves of it below the first, and the whole; from the floor to the ceiling. Below
    one step no narrower width is quicker by itself, but whatever reads it is.
    """
    most = left if wishes.share is None else min(left, rounded(wishes.share, size))
    least = min(most, max(1, math.ceil(wishes.floor * size - 1e-9)))
    while size // step > most_levels:
        step *= 2
    widths = set(range(step, most, step))
    part = step
    while part > 1:
        part //= 2
        widths.add(part)
    return (*sorted(width for width in widths if least <= width < most), most)


def step_of(steps: Steps, name: str) -> int:
    """The step of one axis."""
    step = steps if isinstance(steps, int) else steps(name)
    assert step >= 1, f"{name}: a step of {step}"
    return step


def _together(net: Network) -> list[tuple[str, ...]]:
    """Every axis that may be cut, with those that must keep equal numbers, in the order of the network."""
    group: dict[str, set[str]] = {axis.name: {axis.name} for axis in net.prunable}
    for names in net.balanced:
        joined = set().union(*(group.get(name, {name}) for name in names))
        for name in joined:
            group[name] = joined
    found: dict[tuple[str, ...], None] = {}
    order = {axis.name: place for place, axis in enumerate(net.axes)}
    for axis in net.prunable:
        found[tuple(sorted(group[axis.name], key=order.__getitem__))] = None
    return list(found)


def _stuck(net: Network, wishes: Wishes) -> dict[str, str]:
    """Axis name -> why it is left whole."""
    found = {axis.name: f"frozen: {axis.frozen}" for axis in net.axes if axis.frozen is not None}
    for pattern in wishes.keep:
        for name in _matches(net, pattern, "keep"):
            found.setdefault(name, f"kept whole: keep={pattern}")
    if wishes.only is not None:
        allowed = {name for pattern in wishes.only for name in _matches(net, pattern, "only")}
        for axis in net.axes:
            if axis.name not in allowed:
                found.setdefault(axis.name, f"kept whole: not among only={','.join(wishes.only)}")
    return found


def _matches(net: Network, pattern: str, option: str) -> list[str]:
    names = [axis.name for axis in net.axes]
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        cuttable = [axis.name for axis in net.prunable]
        near = get_close_matches(pattern, cuttable or names, n=3, cutoff=0)
        raise PenjingError(
            "PJ505",
            f"no axis matches {option}={pattern}",
            because=_carried(net, pattern),
            tries=[f"{option}={name}" for name in near],
        )
    return found


def _carried(net: Network, pattern: str) -> str:
    """Whether the pattern names a module or tensor, and by which names its axes go."""
    axes = [
        axis.name
        for axis in net.prunable
        if any(
            fnmatchcase(part, pattern)
            for m in axis.members
            for part in (m.tensor, m.tensor.rpartition(".")[0])
        )
    ]
    return f"`{pattern}` is no axis; what it carries is called {_listed(axes)}" if axes else ""


def _exact(net: Network, wishes: Wishes) -> dict[str, int]:
    found = {}
    for name, number in (wishes.exact or {}).items():
        axis = net.axis(name)
        if axis.frozen is not None:
            raise PenjingError(
                "PJ506",
                f"cannot keep {number} of the {axis.size} units of `{name}`",
                because=f"it is frozen: {axis.frozen}",
                tries=[f"leave `{name}` out"],
            )
        found[name] = _count(axis, number)
    return found


def _count(axis: Axis, number: int | float) -> int:
    share = isinstance(number, float)
    top = 1 if share else axis.size
    if isinstance(number, bool) or not 0 < number <= top:
        raise PenjingError(
            "PJ506",
            f"cannot keep {number} of the {axis.size} units of `{axis.name}`",
            because="a share is a float above 0 and up to 1.0, a count an int from 1 to the axis's size",
            tries=["0.25 for a quarter", f"{max(1, axis.size // 4)} for that many units"],
        )
    return rounded(number, axis.size) if share else int(number)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:4]) + (
        f" and {len(names) - 4} more" if len(names) > 4 else ""
    )


def _listed_numbers(numbers: set[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))
