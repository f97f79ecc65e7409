from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import pytest

from penjing.devices.clock import Basis, Timing, choose_basis, interleave


class Work:
    """Jobs that take counted, not real, time: a clock that only their work moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def clock(self) -> float:
        return self.now

    def job(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.order.append(name)
            self.now += seconds

        return run


def test_interleave_reports_the_cpu_seconds_of_each_job() -> None:
    work = Work()
    jobs = [work.job("a", 0.25), work.job("b", 2.0)]
    first, second = interleave(jobs, cpu_clock=work.clock, limit_s=0)
    assert (first.cpu_s, second.cpu_s) == (0.25, 2.0)
    assert first.cpu_spread == second.cpu_spread == 0


def _turns(work: Work, jobs: int) -> list[str]:
    """Whose turn it was: a job of no length runs 6 times to be known, then 5 + 100 times a turn."""
    runs = work.order[6 * jobs :]
    turns = [runs[start : start + 105] for start in range(0, len(runs), 105)]
    assert all(len(turn) == 105 and len(set(turn)) == 1 for turn in turns)
    return [turn[0] for turn in turns]


def test_interleave_gives_every_job_one_turn_a_round() -> None:
    work = Work()
    interleave([work.job(name, 1.0) for name in "abc"], cpu_clock=work.clock, limit_s=0)
    turns = _turns(work, 3)
    assert len(turns) == 9  # three rounds, though there was no time at all
    assert all(sorted(turns[start : start + 3]) == ["a", "b", "c"] for start in (0, 3, 6))


def test_interleave_changes_the_order_of_jobs_from_round_to_round() -> None:
    work = Work()
    interleave([work.job(name, 1.0) for name in "abcdefgh"], cpu_clock=work.clock, limit_s=0)
    turns = _turns(work, 8)
    assert turns[:8] != turns[8:16]


def test_interleave_times_as_many_cold_runs_as_warm_ones_when_told_to() -> None:
    work = Work()
    colds = {"a": 3.0, "b": 30.0}

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            cold = not work.order or work.order[-1] != name
            work.order.append(name)
            work.now += colds[name] if cold else 1.0

        return run

    first, second = interleave([job("a"), job("b")], cpu_clock=work.clock, limit_s=0, warm=False)
    assert (first.cpu_s, second.cpu_s) == (2.0, 15.5)
    assert first.runs == second.runs == 6


def test_interleave_does_not_believe_medians_before_its_least_time() -> None:
    work = Work()
    (soon,) = interleave([work.job("a", 1.0)], cpu_clock=work.clock, turn_s=0)
    (late,) = interleave([work.job("a", 1.0)], cpu_clock=work.clock, turn_s=0, least_s=0.05)
    assert soon.runs == 8
    assert late.runs > 100


def test_interleave_goes_on_until_the_medians_stand_still() -> None:
    """A job that takes another time in every turn has no settled median: it gets all the time there is."""
    work, calm = Work(), Work()
    times = itertools.cycle([1.0, 2.0, 3.0, 4.0, 5.0])

    def restless() -> None:
        work.now += next(times)

    (noisy,) = interleave([restless], cpu_clock=work.clock, limit_s=0.5, spread=1e-9, turn_s=0)
    (quiet,) = interleave([calm.job("a", 1.0)], cpu_clock=calm.clock, limit_s=0.5, spread=1e-9, turn_s=0)
    assert (quiet.runs, quiet.cpu_spread) == (8, 0)
    assert noisy.runs > 100
    assert noisy.cpu_spread > 1e-9


@pytest.mark.parametrize(
    ("wall", "cpu", "threads", "basis"),
    [
        (1.0, 1.0, 1, "wall"),
        (1.19, 1.0, 1, "wall"),
        (1.21, 1.0, 1, "cpu"),
        (6.0, 1.0, 1, "cpu"),
        (6.0, 1.0, 2, "wall"),
    ],
)
def test_basis_is_cpu_time_only_for_one_thread_of_a_busy_machine(
    wall: float, cpu: float, threads: int, basis: str
) -> None:
    assert choose_basis([Timing(wall, cpu, 9, 0.0, 0.0)], threads=threads) == basis


def test_basis_is_one_for_all_when_only_one_job_was_held_up() -> None:
    calm, held_up = Timing(1.0, 1.0, 9, 0.0, 0.0), Timing(3.0, 1.0, 9, 0.0, 0.0)
    assert choose_basis([calm, held_up], threads=1) == "cpu"


def test_interleave_goes_on_until_the_clock_that_is_read_stands_still() -> None:
    """CPU time of a thread that waits for another processor is steady long before the wall is."""

    def rounds(basis: Basis | None) -> int:
        unsteady, work = random.Random(0), Work()

        def job() -> None:
            time.sleep(unsteady.uniform(0.0, 0.004))
            work.now += 1.0

        (timing,) = interleave(
            [job], cpu_clock=work.clock, limit_s=0.5, turn_s=0, least_turns=3, warm=True, basis=basis
        )
        return timing.runs

    assert rounds("cpu") == rounds(None) == 3
    assert rounds("wall") > 10
