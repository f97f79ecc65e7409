"""The loop is tried on worlds whose truth is known: a planner over whole widths, and a model that errs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pytest

from penjing.errors import PenjingError
from penjing.run.adjust import FULL, Candidate, adjust, best

Curve = Callable[[int], float]


@dataclass
class World:
    """Networks are widths 1 to 1000; `model` says what the planner believes, `truth` what is measured."""

    model: Curve
    truth: Curve
    refit: bool = False
    step: int = 1
    seen: list[int] = field(default_factory=list)

    def plan(self, target: Mapping[str, float]) -> int:
        slope, offset = self.fit()
        fits = [
            w
            for w in range(self.step, 1001, self.step)
            if slope * self.model(w) + offset <= target["latency"]
        ]
        if not fits:
            raise PenjingError("PJ503", "too small")
        return max(fits)

    def fit(self) -> tuple[float, float]:
        """What was measured over what the model said, as a line."""
        if not (self.refit and self.seen):
            return 1.0, 0.0
        told, found = [self.model(w) for w in self.seen], [self.truth(w) for w in self.seen]
        slope, offset = np.polyfit(told, found, 1) if len(self.seen) > 1 else (found[0] / told[0], 0.0)
        return float(slope), float(offset)

    def predicted(self, width: int) -> float:
        slope, offset = self.fit()
        return slope * self.model(width) + offset

    def predict(self, width: int) -> dict[str, float]:
        return {"latency": self.predicted(width)}

    def measure(self, width: int) -> dict[str, float]:
        assert width not in self.seen, "measured twice"
        self.seen.append(width)
        return {"latency": self.truth(width)}

    def run(self, limit: float, most: int = 8) -> tuple[float, int]:
        """Share of the limit that the chosen one takes, and how many were measured."""
        found = adjust(
            {"latency": limit}, plan=self.plan, predict=self.predict, measure=self.measure, most=most
        )
        chosen = best(found, float)
        assert chosen is not None
        return chosen.used, len(found)


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("error", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_adjust_uses_the_budget_though_the_model_is_off_by_a_factor(error: float, refit: bool) -> None:
    used, count = World(lambda w: w * error, lambda w: float(w), refit).run(500)
    assert 0.95 <= used <= 1
    assert count <= 3


def test_adjust_uses_the_budget_though_the_model_has_another_shape() -> None:
    shares = []
    for factor, offset, power, ripple, limit, refit in product(
        (0.6, 1.0, 1.8), (0, 100, 250), (0.6, 1.0, 1.4), (0, 0.01), (400, 550, 800), (False, True)
    ):

        def truth(width: int, f=factor, o=offset, p=power, r=ripple) -> float:
            return f * (o + 1000 * (width / 1000) ** p) * (1 + r * ((width * 7919) % 13 - 6) / 6)

        if truth(100) < limit < truth(1000):
            shares.append(World(lambda w: float(w), truth, refit).run(limit)[0])
    assert len(shares) > 100
    assert max(shares) <= 1
    assert sum(share >= 0.95 for share in shares) >= 0.99 * len(shares)


def test_adjust_takes_the_largest_inside_when_steps_are_coarse() -> None:
    world = World(lambda w: float(w), lambda w: float(w), step=200)
    used, _ = world.run(790)
    assert used == pytest.approx(600 / 790)


def test_adjust_never_measures_a_plan_twice_nor_more_than_allowed() -> None:
    world = World(lambda w: float(w), lambda w: 300.0 + w * 0.001)  # nothing helps
    found = adjust({"latency": 100.0}, plan=world.plan, predict=world.predict, measure=world.measure, most=5)
    assert 3 <= len(found) <= 5
    assert best(found, float) is None


def test_adjust_passes_on_that_no_plan_is_small_enough() -> None:
    world = World(lambda w: float(w), lambda w: float(w))
    with pytest.raises(PenjingError, match="PJ503"):
        world.run(0.5)


def test_adjust_needs_one_measurement_when_all_limits_are_exact() -> None:
    limits = {"macs": 700.0, "params": 400.0}
    asked = []

    def plan(target: Mapping[str, float]) -> int:
        asked.append(dict(target))
        return int(min(target["macs"], 2 * target["params"]))

    def amounts(width: int) -> dict[str, float]:
        return {"macs": float(width), "params": width / 2}

    found = adjust(limits, plan=plan, predict=amounts, measure=amounts)
    assert [candidate.plan for candidate in found] == [700]
    assert asked == [limits]


def test_adjust_stops_when_an_exact_limit_binds_and_the_measured_one_does_not() -> None:
    def plan(target: Mapping[str, float]) -> int:
        return int(min(target["macs"], target["latency"]))

    def measure(width: int) -> dict[str, float]:
        return {"macs": float(width), "latency": width * 0.5}

    limits = {"macs": 400.0, "latency": 500.0}
    found = adjust(
        limits, plan=plan, predict=lambda w: {"macs": float(w), "latency": float(w)}, measure=measure
    )
    assert [candidate.plan for candidate in found] == [400]


def test_best_prefers_a_margin_to_the_edge() -> None:
    def candidates(*widths: int) -> list:
        world = World(lambda w: float(w), lambda w: float(w))
        made = [
            adjust(
                {"latency": 1000.0},
                plan=lambda _, w=w: w,
                predict=world.predict,
                measure=world.predict,
                most=1,
            )
            for w in widths
        ]
        return [candidate for one in made for candidate in one]

    assert best(candidates(900, 998, 960), float).plan == 960
    assert best(candidates(995, 998), float).plan == 998
    assert best(candidates(1001), float) is None
    assert best([], float) is None


def test_best_candidate_keeps_most_worth_of_those_that_use_the_budget() -> None:
    def candidate(plan: str, used: float) -> Candidate[str]:
        return Candidate(plan, {}, {}, {}, used, used)

    found = [candidate("dull", 0.985), candidate("worthy", 0.955), candidate("small", 0.9)]
    worth = {"dull": 1.0, "worthy": 2.0, "small": 3.0}
    assert best(found, worth.__getitem__).plan == "worthy"
    assert best(found[2:], worth.__getitem__).plan == "small"


def test_search_goes_on_beyond_its_usual_end_while_no_candidate_uses_the_budget() -> None:
    """Three timings are spoilt by another program; then the machine is quiet."""
    spoilt = iter([1.8, 3.0, 3.0])
    found = adjust(
        {"latency": 100.0},
        plan=lambda target: round(target["latency"]),
        predict=lambda plan: {"latency": float(plan)},
        measure=lambda plan: {"latency": plan * next(spoilt, 1.0)},
        most=3,
    )
    assert 3 < len(found) <= 6
    assert any(FULL <= one.used <= 1 for one in found)
    never = adjust(
        {"latency": 100.0},
        plan=lambda target: round(target["latency"]),
        predict=lambda plan: {"latency": float(plan)},
        measure=lambda plan: {"latency": 101.0 + plan},
        most=3,
    )
    assert len(never) == 6


def test_adjust_asks_a_finer_planner_where_no_plan_of_the_first_uses_the_budget() -> None:
    """Widths of 400 and 800 take 0.66 and 1.33 of the limit: nothing between them, until steps are halved."""
    coarse, fine = World(float, float, step=400), World(float, float, step=50)
    asked: list[float] = []

    def finer(target: Mapping[str, float]) -> int:
        asked.append(target["latency"])
        return fine.plan(target)

    found = adjust(
        {"latency": 600}, plan=coarse.plan, predict=coarse.predict, measure=coarse.measure, finer=[finer]
    )
    chosen = best(found, float)
    assert chosen is not None
    assert {400, 800} <= {candidate.plan for candidate in found}
    assert FULL <= chosen.used <= 1
    assert asked


def test_adjust_asks_no_finer_planner_where_the_budget_is_used() -> None:
    world = World(float, float, step=590)

    def finer(target: Mapping[str, float]) -> int:
        raise AssertionError

    found = adjust(
        {"latency": 600}, plan=world.plan, predict=world.predict, measure=world.measure, finer=[finer]
    )
    assert [candidate.plan for candidate in found][:1] == [590]


def test_adjust_goes_on_where_a_figure_is_measured_as_nothing() -> None:
    """Widths of up to 100 take nothing: all of it fits into what there is anyway."""
    world = World(float, lambda width: 0.0 if width <= 100 else float(width), refit=False)
    world.seen.append(0)
    found = adjust(
        {"latency": 500},
        plan=lambda target: min(world.plan(target), 100) if len(world.seen) == 1 else world.plan(target),
        predict=world.predict,
        measure=world.measure,
    )
    chosen = best(found, float)
    assert found[0].measured == {"latency": 0.0}
    assert chosen is not None
    assert FULL <= chosen.used <= 1
