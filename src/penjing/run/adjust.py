"""Measure and adjust: the largest network whose measured figures are inside the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from penjing.errors import PenjingError

Amounts = Mapping[str, float]
"""Quantity -> amount."""

AIMS: Mapping[str, float] = MappingProxyType(
    {"latency": 0.975, "cycles": 0.985, "memory": 0.99, "size": 0.99}
)
"""Share of its limit to aim at, for what has to be measured: the noisier the figure, the further inside.

Quantities that are not named are exact: the planner is asked for their limits themselves.
"""

CLOSE = 0.015
"""Relative distance from the aim that needs no improvement: closer, measuring tells no difference."""

FULL = 0.95
"""Share of a limit from which on a budget counts as used."""

LEAST = 0.1
"""Share of its aim that a figure counts for at least where it says how far to go: it may be nothing."""

MARGIN = 0.01
"""Share of a limit that noise may take when a network is measured again."""

P = TypeVar("P")


@dataclass(frozen=True)
class Candidate(Generic[P]):
    """A plan that was measured.

    Attributes:
        plan: whatever the planner made.
        target: what the planner was asked for.
        predicted: what the cost model said of it before it was measured.
        measured: what it is.
        used: the largest share of a limit that it takes; inside up to 1.
        aimed: the largest share of what was aimed at; 1 is on target.
    """

    plan: P
    target: Amounts
    predicted: Amounts
    measured: Amounts
    used: float
    aimed: float


def adjust(
    limits: Amounts,
    *,
    plan: Callable[[Amounts], P],
    predict: Callable[[P], Amounts],
    measure: Callable[[P], Amounts],
    finer: Sequence[Callable[[Amounts], P]] = (),
    aims: Mapping[str, float] = AIMS,
    most: int = 8,
) -> list[Candidate[P]]:
    """Plans and measures until a candidate uses the budget as it should, or there were `most`.

    Where then no candidate uses the budget to `FULL`, as many measurements again are allowed. Another program
    may have spoilt some: those that seemed outside are measured a second time, the nearest first, and the
    lower figure counts.

    The planner is asked for less where its model's predictions are too low, and for more where they are too
    high. `measure` may refit that model: targets are always read off what it predicts *now* for the
    candidates that were measured, above all for the largest inside the budget and the smallest outside.

    Args:
        limits: per quantity; may be empty.
        plan: the best plan whose predicted amounts are within those given; PJ503 where there is none.
        predict: what the model says of a plan.
        measure: what a plan comes to; asked once per plan.
        finer: planners that know more networks than `plan`, each more than the one before; asked in turn
            where those before have nothing new to say and no candidate uses the budget to `FULL`.
        aims: the share of its limit to aim at, for each quantity that has to be measured.
        most: how many candidates to measure, as a rule.

    Returns:
        Every candidate in order of measurement. It may be that none is inside.

    Raises:
        PenjingError: PJ503, no plan is within the limits by the planner's own word.
    """
    found: list[Candidate[P]] = []
    while not any(_good(candidate, limits, aims) for candidate in found):
        filled = any(FULL <= candidate.used <= 1 for candidate in found)
        if len(found) >= (most if filled else 2 * most):
            break
        step = _doubtful(found) if len(found) >= most else None
        for planner in (plan, *(() if filled else finer)):
            step = step or _next(_believed(found), limits, aims, planner, predict)
        if step is None:
            break
        target, proposal = step
        predicted = dict(predict(proposal))
        measured = dict(measure(proposal))
        shares = {quantity: measured[quantity] / limit for quantity, limit in limits.items()}
        aimed = max((share / aims.get(quantity, 1.0) for quantity, share in shares.items()), default=0.0)
        used = max(shares.values(), default=0.0)
        found.append(Candidate(proposal, target, predicted, measured, used, aimed))
    return found


def _believed(found: Sequence[Candidate[P]]) -> list[Candidate[P]]:
    """Of every plan its lowest measurement: other programs only ever make it longer."""
    kept: list[Candidate[P]] = []
    for candidate in sorted(found, key=lambda one: one.used):
        if all(candidate.plan != one.plan for one in kept):
            kept.append(candidate)
    return sorted(kept, key=found.index)


def _doubtful(found: Sequence[Candidate[P]]) -> tuple[Amounts, P] | None:
    """The plan nearest outside that was measured only once, with its target; None if there is none."""
    once = [one for one in found if sum(one.plan == other.plan for other in found) == 1 and one.used > 1]
    nearest = min(once, key=lambda one: one.used, default=None)
    return None if nearest is None else (nearest.target, nearest.plan)


def _good(candidate: Candidate[P], limits: Amounts, shares: Mapping[str, float]) -> bool:
    """Whether measuring more cannot help: on target, or inside where all limits are exact."""
    if candidate.used > 1:
        return False
    return abs(candidate.aimed - 1) <= CLOSE or not any(quantity in shares for quantity in limits)


def best(found: Sequence[Candidate[P]], worth: Callable[[P], float]) -> Candidate[P] | None:
    """The candidate inside that keeps most worth, of those that use the budget as they should.

    Those leave a `MARGIN` for the noise of the last measurement, and no more than they must; where there are
    none, the one that uses most of the budget.
    """
    inside = [candidate for candidate in _believed(found) if candidate.used <= 1]
    safe = [candidate for candidate in inside if FULL <= candidate.used <= 1 - MARGIN]
    if safe:
        return max(safe, key=lambda candidate: worth(candidate.plan))
    return max(inside, key=lambda candidate: candidate.used, default=None)


def _next(
    found: Sequence[Candidate[P]],
    limits: Amounts,
    shares: Mapping[str, float],
    plan: Callable[[Amounts], P],
    predict: Callable[[P], Amounts],
) -> tuple[Amounts, P] | None:
    """The first target that leads to a plan not measured yet; None if none does."""
    refusal: PenjingError | None = None
    for target in _targets(found, limits, shares, predict):
        try:
            proposal = plan(target)
        except PenjingError as error:
            if error.code != "PJ503":
                raise
            refusal = error
            continue
        if all(proposal != candidate.plan for candidate in found):
            return target, proposal
    if refusal and not found:
        raise refusal
    return None


def _targets(
    found: Sequence[Candidate[P]],
    limits: Amounts,
    shares: Mapping[str, float],
    predict: Callable[[P], Amounts],
) -> Iterator[Amounts]:
    """What to ask of the planner next, the likeliest first."""
    aims = {quantity: limit * shares.get(quantity, 1.0) for quantity, limit in limits.items()}
    if not found:
        yield aims
        yield dict(limits)
        return
    below = max((c for c in found if c.aimed <= 1), key=lambda c: c.aimed, default=None)
    above = min((c for c in found if c.aimed > 1), key=lambda c: c.aimed, default=None)
    nearest = min(found, key=lambda c: abs(c.aimed - 1))
    now = predict(nearest.plan)

    def corrected(power: float) -> Amounts:
        least = {q: max(nearest.measured[q], LEAST * aims[q]) for q in limits if q in shares}
        ratio = {q: (aims[q] / amount) ** power for q, amount in least.items()}
        return {**limits, **{q: now[q] * factor for q, factor in ratio.items()}}

    if below and above:
        low, high, near = predict(below.plan), predict(above.plan), corrected(1)
        if all(low[q] < near[q] < high[q] for q in limits if q in shares):
            yield near
        straight = (1 - below.aimed) / (above.aimed - below.aimed)
        for part in (straight, 0.5, 0.25, 0.75, 0.125, 0.875, 0.375, 0.625):
            mixed = {q: low[q] + part * (high[q] - low[q]) for q in limits}
            yield {q: mixed[q] if q in shares else limit for q, limit in limits.items()}
    else:
        # On one side only, go further at every step than proportion says: the other side must be seen.
        for power in (len(found), *range(len(found) - 1, 0, -1), *range(len(found) + 1, len(found) + 6)):
            yield corrected(power)
        # The model may take all of that for impossible, or for what was measured already: as far as it goes.
        for part in (0.5, 0.3, 0.2, 0.1, 0.05, 0.02):
            yield {
                q: now[q] * (1 + part if below else 1 - part) if q in shares else limits[q] for q in limits
            }
