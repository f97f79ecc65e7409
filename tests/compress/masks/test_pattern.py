"""Groups of weights: sums and masks as plain loops have them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from penjing.compress.masks import (
    NM,
    PATTERNS,
    Block,
    Columns,
    Kernels,
    Pattern,
    Rows,
    Unstructured,
    pattern_named,
)
from penjing.errors import PenjingError

# Pattern, shape of a weight, and the size of a group by hand.
CASES: list[tuple[Pattern, tuple[int, ...], tuple[int, ...]]] = [
    (Unstructured(), (3, 4), (1, 1)),
    (Unstructured(), (2, 3, 2, 2), (1, 1, 1, 1)),
    (Block((2, 3)), (4, 6), (2, 3)),
    (Block((2, 3)), (4, 6, 3, 3), (2, 3, 1, 1)),
    (Block((3, 3), align="trailing"), (4, 5, 3, 3), (1, 1, 3, 3)),
    (Block((4, -1)), (8, 5), (4, 5)),
    (Block((1, 4, -1, -1)), (2, 8, 3, 2), (1, 4, 3, 2)),
    (Rows(), (4, 3), (1, 3)),
    (Rows(), (4, 3, 2, 2), (1, 3, 2, 2)),
    (Rows(-1), (4, 3), (4, 1)),
    (Columns(), (4, 3, 2, 2), (4, 1, 2, 2)),
    (Kernels(), (4, 3, 3, 2), (1, 1, 3, 2)),
    (Kernels(), (4, 3, 5), (1, 1, 5)),
    (NM(2, 4), (3, 8), (1, 1)),
]


def by_loops(pattern_tile: tuple[int, ...], scores: np.ndarray) -> np.ndarray:
    """Sums of groups, one weight after another."""
    sums = np.zeros([size // tile for size, tile in zip(scores.shape, pattern_tile, strict=True)])
    for place in itertools.product(*map(range, scores.shape)):
        sums[tuple(i // tile for i, tile in zip(place, pattern_tile, strict=True))] += scores[place]
    return sums


@pytest.mark.parametrize(("pattern", "shape", "tile"), CASES)
def test_groups_are_sums_over_tiles_and_decisions_come_back_to_them(
    pattern: Pattern, shape: tuple[int, ...], tile: tuple[int, ...]
) -> None:
    scores = torch.rand(shape)
    sums = pattern.groups(scores)
    np.testing.assert_allclose(sums.numpy(), by_loops(tile, scores.double().numpy()), rtol=1e-12)
    assert pattern.size(shape) == int(np.prod(tile))
    kept = torch.rand(sums.shape) > 0.5
    mask = pattern.expand(kept, shape)
    assert mask.dtype == torch.bool
    for place in itertools.product(*map(range, shape)):
        assert mask[place] == kept[tuple(i // size for i, size in zip(place, tile, strict=True))]
    # what was decided is what the groups of the mask say
    assert torch.equal(pattern.groups(mask) > 0, kept)


def every_pattern() -> list[type[Pattern]]:
    return sorted({type(case[0]) for case in CASES}, key=lambda kind: kind.__name__)


def test_every_pattern_has_cases() -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(deeper for sub in kind.__subclasses__() for deeper in below(sub))}

    assert below(Pattern) - {Pattern} == set(every_pattern())


@pytest.mark.parametrize("m", [2, 3, 4])
def test_nm_keeps_the_best_n_of_every_m_of_all_orders(m: int) -> None:
    """Every order of m scores, ties included."""
    lanes = torch.tensor(list(itertools.product(range(m), repeat=m)), dtype=torch.float64)
    for n in range(1, m):
        kept = NM(n, m).fixed(lanes)
        assert kept.sum(1).tolist() == [n] * len(lanes)
        for lane, own in zip(lanes.tolist(), kept.tolist(), strict=True):
            order = sorted(range(m), key=lambda i: (lane[i], i))  # of equal ones the earlier goes
            assert [i for i in range(m) if not own[i]] == sorted(order[: m - n])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_nm_counts_are_exact_along_any_dimension(n: int, more: int, lanes: int, seed: int) -> None:
    m = n + more
    generator = torch.Generator().manual_seed(seed)
    for dim in range(-3, 3):
        shape = [3, 2, 4]
        shape[dim] = m * lanes
        pattern = NM(n, m, dim=dim)
        scores = torch.randint(5, shape, generator=generator).double()
        mask = pattern.expand(pattern.fixed(pattern.groups(scores)), shape)
        along = np.moveaxis(mask.numpy(), dim, -1).reshape(-1, m)
        assert (along.sum(1) == n).all()
        best = np.sort(np.moveaxis(scores.numpy(), dim, -1).reshape(-1, m))[:, -n:].sum()
        assert float((scores * mask).sum()) == best


def test_nm_comes_down_to_its_n_by_the_schedule() -> None:
    pattern = NM(2, 8)
    assert [getattr(pattern.eased(share), "n", None) for share in (0, 0.1, 0.125, 0.5, 0.74, 0.75, 0.9)] == [
        None, None, 7, 4, 3, 2, 2
    ]  # fmt: skip


REFUSED: list[tuple[Pattern, tuple[int, ...], str]] = [
    (NM(2, 4), (8, 6), "dimension 1 has 6, no multiple of 4: 4 or 8 would fit"),
    (NM(2, 4), (8, 3, 3, 3), "dimension 1 has 3, no multiple of 4: 4 would fit"),
    (NM(2, 4, dim=2), (8, 6), "it has no dimension 2"),
    (Block((3, 2)), (8, 6), "dimension 0 has 8, no multiple of 3: 6 or 9 would fit"),
    (Block((1, 4, 3, 3)), (8, 8), "it has 2 dimensions, and the block 4"),
    (Kernels(), (8, 8), "it has 2 dimensions: no kernels"),
    (Columns(3), (8, 8), "it has no dimension 3"),
    (Rows(2), (8, 8), "it has no dimension 2"),
]


@pytest.mark.parametrize(("pattern", "shape", "because"), REFUSED)
def test_pattern_that_does_not_suit_says_what_would(
    pattern: Pattern, shape: tuple[int, ...], because: str
) -> None:
    assert pattern.objection(shape) == because
    for call in (lambda: pattern.groups(torch.ones(shape)), lambda: pattern.expand(torch.ones(1) > 0, shape)):
        with pytest.raises(PenjingError, match=pattern.name) as caught:
            call()
        assert caught.value.code == "PJ810"
        assert caught.value.because == because


@pytest.mark.parametrize(
    ("pattern", "shape", "covered"),
    [
        (NM(1, 4, at_end="dense"), (2, 10), (2, 8)),
        (NM(1, 4, dim=0, at_end="dense"), (6, 3, 2), (4, 3, 2)),
        (Block((2, 4), at_end="dense"), (5, 7), (4, 4)),
    ],
)
def test_what_is_left_over_stays_where_that_is_asked_for(
    pattern: Pattern, shape: tuple[int, ...], covered: tuple[int, ...]
) -> None:
    scores = torch.rand(shape)
    groups = pattern.groups(scores)
    inside = tuple(slice(0, size) for size in covered)
    assert float(groups.sum()) == pytest.approx(float(scores[inside].sum()))
    mask = pattern.expand(torch.zeros_like(groups, dtype=torch.bool), shape)
    assert not mask[inside].any()
    assert int(mask.sum()) == mask.numel() - int(np.prod(covered))
    assert pattern.objection([3] * len(shape))  # not one group


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        *PATTERNS.items(),
        ("2:4", NM(2, 4)),
        ("1:16", NM(1, 16)),
        ("4x4", Block((4, 4))),
        ("1x8x3", Block((1, 8, 3))),
    ],
)
def test_pattern_is_read_as_it_is_written(written: str, pattern: Pattern) -> None:
    assert pattern_named(written) == pattern
    assert pattern_named(pattern) is pattern
    assert pattern.name.removeprefix("block ") == written


@pytest.mark.parametrize("written", ["", "2:", "4", "x4", "4:2", "0:4", "0x4", "row", "2:4:8"])
def test_pattern_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(PenjingError, match="there is no") as caught:
        pattern_named(written)
    assert caught.value.code == "PJ811"


def test_scores_of_half_precision_do_not_lose_digits() -> None:
    scores: Tensor = torch.full((1, 4096), 0.1, dtype=torch.float16)
    assert float(Rows().groups(scores)) == pytest.approx(4096 * float(scores[0, 0]), rel=1e-12)
