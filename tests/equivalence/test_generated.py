"""Generated networks: every cut is right, nothing crashes or hangs, and little is frozen without need."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache

import pytest

from tests.equivalence.generated.examine import examine
from tests.equivalence.generated.grow import OPERATORS, grow
from tests.equivalence.generated.limit import examined, within
from tests.equivalence.generated.moves import MOVES
from tests.equivalence.generated.wrong_rules import MISTAKES, Mistake

# A copy of a module that torch.export has seen holds pytrees of its own.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"
)

QUICK = 120
"""So many networks are examined in every run; the slow tests go on from there."""

JUDGED = 40
"""Of so many is every frozen axis judged in every run, in batches."""

TOTAL = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 2_000
BATCH = 10


def batches(first: int, last: int, *, slow: bool = False) -> list[object]:
    marks = [pytest.mark.slow] if slow else []
    starts = range(first, last, BATCH)
    return [pytest.param(range(start, start + BATCH), id=f"{start}", marks=marks) for start in starts]


@pytest.mark.parametrize("seeds", batches(JUDGED, QUICK) + batches(QUICK, TOTAL, slow=True))
def test_generated_networks_are_cut_right(seeds: range) -> None:
    wrong = {}
    for seed in seeds:
        found = examined(seed, singles=1, need=False)
        assert found.operators >= OPERATORS, seed
        if found.problems:
            wrong[seed] = found.problems
    assert not wrong


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(JUDGED), id="0"),
        *(
            pytest.param(range(start, start + 100), id=f"{start}", marks=pytest.mark.slow)
            for start in range(100, TOTAL, 100)
        ),
    ],
)
def test_generated_networks_are_cut_right_and_frozen_only_where_they_must(seeds: range) -> None:
    wrong = {}
    tally: Counter[str] = Counter()
    for seed in seeds:
        found = examined(seed)
        tally.update(
            axes=found.axes, needless=len(found.needless), units=found.units, prunable=found.prunable
        )
        if found.problems:
            wrong[seed] = found.problems
    assert not wrong
    assert tally["units"] > len(seeds)
    assert tally["prunable"] > 0.5 * tally["axes"]
    assert tally["needless"] <= 0.1 * tally["axes"]


def test_generator_makes_the_same_network_again_for_a_seed() -> None:
    one, other = grow(7), grow(7)
    assert one.model.listing() == other.model.listing()
    assert [name for name, _ in one.model.named_parameters()] == [
        n for n, _ in other.model.named_parameters()
    ]
    assert all(a.equal(b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
    assert grow(8).model.listing() != one.model.listing()


def test_generator_makes_every_move() -> None:
    """A move that is never made tests nothing."""
    made = {name for seed in range(400) for name in moves(seed)}
    assert {move.name for move in MOVES} <= made
    assert {"shared", "concatenation", "Add", "Gate", "StackMean", "Blend", "cross attention"} <= made


@cache
def moves(seed: int) -> frozenset[str]:
    return frozenset(grow(seed).moves)


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_wrong_rule_is_caught_on_generated_networks(mistake: Mistake) -> None:
    """Without the mistake the same networks are cut right, so it is the mistake that is caught."""
    using = [seed for seed in range(150) if mistake.moves & moves(seed)]
    for seed in using[:12]:
        with within():
            found = examine(seed, singles=0, need=False, rules=mistake.rules)
        if found.problems:
            assert not examine(seed, singles=0, need=False).problems
            return
    pytest.fail(f"{mistake.what}: not noticed on {len(using[:12])} networks")
