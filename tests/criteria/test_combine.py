from __future__ import annotations

import pytest
import torch

from penjing.criteria.combine import NORMALISATIONS, Aggregate, Normalise, aggregated

INF = float("inf")


def slices() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three members of an axis of three units: one plain, one with two indices a unit, one with a gap."""
    plain = (torch.tensor([1.0, 5.0, 3.0]).double(), torch.tensor([0, 1, 2]))
    repeated = (torch.tensor([1.0, 2.0, 4.0, 1.0, 2.0, 4.0]).double(), torch.tensor([0, 1, 2, 0, 1, 2]))
    gap = (torch.tensor([9.0, 7.0]).double(), torch.tensor([-1, 2]))
    return [plain, repeated, gap]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("sum", [3.0, 9.0, 18.0]), ("mean", [1.5, 4.5, 6.0]), ("max", [2.0, 5.0, 8.0])],
)
def test_aggregate_gives_the_figures_worked_out_by_hand(how: Aggregate, expected: list[float]) -> None:
    assert aggregated(slices(), 3, how=how).tolist() == expected


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_aggregate_gives_zero_to_a_unit_that_no_member_carries(how: Aggregate) -> None:
    only = [(torch.tensor([4.0]).double(), torch.tensor([1]))]
    assert aggregated(only, 2, how=how).tolist() == [0.0, 4.0]


def test_aggregate_max_keeps_the_largest_of_negative_slices() -> None:
    two = [
        (torch.tensor([-4.0]).double(), torch.tensor([0])),
        (torch.tensor([-2.0]).double(), torch.tensor([0])),
    ]
    assert aggregated(two, 1, how="max").tolist() == [-2.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [3.0, 1.0, 1.0, 7.0]),
        ("mean", [1.0, 1 / 3, 1 / 3, 7 / 3]),
        ("l2", [3 / 60**0.5, 1 / 60**0.5, 1 / 60**0.5, 7 / 60**0.5]),
        ("rank", [3 / 4, 1.5 / 4, 1.5 / 4, 1.0]),
    ],
)
def test_normalisation_gives_the_figures_worked_out_by_hand(name: Normalise, expected: list[float]) -> None:
    found = NORMALISATIONS[name](torch.tensor([3.0, 1.0, 1.0, 7.0]).double())
    assert found.tolist() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalisation_never_changes_the_order_of_units(name: Normalise) -> None:
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0)).double()
    assert NORMALISATIONS[name](scores).argsort().tolist() == scores.argsort().tolist()


@pytest.mark.parametrize("name", ["none", "mean", "l2"])
def test_normalisation_leaves_an_axis_of_zeros_at_zero(name: Normalise) -> None:
    assert NORMALISATIONS[name](torch.zeros(3).double()).tolist() == [0.0, 0.0, 0.0]


def test_normalisation_by_rank_calls_equal_units_equal() -> None:
    assert NORMALISATIONS["rank"](torch.zeros(4).double()).tolist() == [0.625] * 4
