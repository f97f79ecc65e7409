"""Timing several jobs against one another: interleaved, both clocks, until the medians stand still."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Basis = Literal["wall", "cpu"]

BUSY: Final = 1.2
"""Wall over CPU time of one thread from which the machine counts as busy, and CPU time is taken instead."""

_WARM_S: Final = 0.005
_MEDIAN_OF_NORMAL: Final = 1.2533  # standard error of a median over that of a mean
_MAD_OF_NORMAL: Final = 1.4826  # standard deviation over median absolute deviation


@dataclass(frozen=True)
class Timing:
    """What one job took.

    Attributes:
        wall_s: median wall time of a run.
        cpu_s: median CPU time of a run.
        runs: how many runs were timed.
        wall_spread: standard error of `wall_s`, relative to it.
        cpu_spread: standard error of `cpu_s`, relative to it.
    """

    wall_s: float
    cpu_s: float
    runs: int
    wall_spread: float
    cpu_spread: float


def interleave(
    jobs: Sequence[Callable[[], object]],
    *,
    cpu_clock: Callable[[], float] = time.thread_time,
    spread: float = 0.01,
    limit_s: float = 30.0,
    turn_s: float = 0.02,
    least_turns: int = 8,
    least_s: float = 0.0,
    warm: bool = True,
    basis: Basis | None = None,
) -> tuple[Timing, ...]:
    """Times `jobs` in turns, so that a slow spell of the machine falls on all of them alike.

    A turn is a few untimed runs, then as many timed ones as fit `turn_s` (at least one). The untimed ones
    matter: a network of a millisecond takes up to 1.7x in the first run after another's turn, and is steady
    after five. Each round goes through the jobs in another order (a fixed order keeps step with the
    scheduler, and the same job pays every time). Rounds go on until the spread of every median is below
    `spread` in wall or in CPU time, or `limit_s` is over; a job gets three turns in any case.

    Args:
        jobs: what to time.
        cpu_clock: `time.thread_time` where a job stays in the calling thread, else `time.process_time`.
        spread: the relative standard error of the median that is good enough.
        limit_s: seconds after which no new round begins.
        turn_s: seconds of timed runs to a turn.
        least_turns: rounds before the spread is believed.
        least_s: seconds before it is.
        warm: False for turns of two runs, both timed, always in the same order: the first finds the caches
            as another job left them, the second as it left them itself. What a network of a millisecond
            takes as a share of another's differs by up to 5 % between the two; halfway, it is near to both.
        basis: the clock whose medians have to stand still; None for the steadier of the two.

    Returns:
        One timing per job, in order. Medians are over turns, each of which counts by its own median.
    """
    once = [_quickest(job) for job in jobs]
    untimed = [_clamp(_WARM_S / seconds, 1, 5) if warm else 0 for seconds in once]
    timed = [_clamp(turn_s / seconds, 1, 100) if warm else 2 for seconds in once]
    turns: list[list[tuple[float, float]]] = [[] for _ in jobs]
    order, shuffle = list(range(len(jobs))), random.Random(0).shuffle
    start, rounds = time.perf_counter(), 0
    while rounds < 3 or (
        (spent := time.perf_counter() - start) < limit_s
        and (
            rounds < least_turns
            or spent < least_s
            or not all(_settled(kept, spread, basis) for kept in turns)
        )
    ):
        if warm:
            shuffle(order)
        for index in order:
            turns[index].append(_turn(jobs[index], untimed[index], timed[index], cpu_clock))
        rounds += 1
    return tuple(_timing(kept, repeat) for kept, repeat in zip(turns, timed, strict=True))


def beside_first(count: int) -> list[int]:
    """Places of `count` jobs in turns in which every other follows the first, as where two are compared."""
    return [place for other in range(1, count) for place in (0, other)]


def choose_basis(timings: Sequence[Timing], *, threads: int) -> Basis:
    """The clock to read all of `timings` by: the wall, or for one thread of a busy machine the CPU."""
    busy = any(timing.wall_s > BUSY * timing.cpu_s for timing in timings)
    return "cpu" if threads == 1 and busy else "wall"


def _quickest(job: Callable[[], object]) -> float:
    """Wall seconds of the quickest of a few first runs.

    How many runs make a turn follows from it, and a single run that was interrupted would make a short turn,
    in which the job never gets warm: 20 % more for the same network.
    """
    job()
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < 0.2:
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return max(1e-6, min(seconds))


def _clamp(ratio: float, least: int, most: int) -> int:
    return max(least, min(most, math.ceil(ratio)))


def _turn(
    job: Callable[[], object], warm: int, timed: int, cpu_clock: Callable[[], float]
) -> tuple[float, float]:
    """Median wall and CPU seconds of `timed` runs after `warm` others."""
    for _ in range(warm):
        job()
    walls, cpus = [], []
    for _ in range(timed):
        cpu, wall = cpu_clock(), time.perf_counter()
        job()
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_clock() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def _settled(turns: Sequence[tuple[float, float]], spread: float, basis: Basis | None) -> bool:
    """Whether the median by that clock, or by the steadier one, is known well enough."""
    clocks = (0, 1) if basis is None else (0,) if basis == "wall" else (1,)
    return min(_spread([turn[clock] for turn in turns]) for clock in clocks) < spread


def _spread(samples: Sequence[float]) -> float:
    """Standard error of the median, relative to it, by the median absolute deviation."""
    middle = statistics.median(samples)
    deviation = statistics.median(abs(sample - middle) for sample in samples)
    return _MEDIAN_OF_NORMAL * _MAD_OF_NORMAL * deviation / (math.sqrt(len(samples)) * max(middle, 1e-12))


def _timing(turns: Sequence[tuple[float, float]], repeat: int) -> Timing:
    walls, cpus = [turn[0] for turn in turns], [turn[1] for turn in turns]
    return Timing(
        wall_s=statistics.median(walls),
        cpu_s=statistics.median(cpus),
        runs=repeat * len(turns),
        wall_spread=_spread(walls),
        cpu_spread=_spread(cpus),
    )
