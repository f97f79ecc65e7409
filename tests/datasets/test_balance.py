from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from penjing.datasets import balanced
from penjing.errors import PenjingError

labels = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(torch.tensor)


@given(labels=labels, per_class=st.integers(0, 5), seed=st.integers(0, 9))
def test_balanced_draws_as_many_of_each_class_and_none_twice(
    labels: torch.Tensor, per_class: int, seed: int
) -> None:
    assume(int(labels.bincount()[labels.unique()].min()) >= per_class)
    drawn = balanced(labels, per_class, seed=seed)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    for label in labels.unique():
        assert int((labels[drawn] == label).sum()) == per_class


def test_balanced_draws_the_same_for_a_seed_and_other_ones_for_another() -> None:
    labels = torch.arange(1000) % 4
    first = balanced(labels, 50, seed=1)
    assert torch.equal(first, balanced(labels, 50, seed=1))
    assert not torch.equal(first, balanced(labels, 50, seed=2))


def test_balanced_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    balanced(torch.arange(20) % 2, 5, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_balanced_refuses_more_than_the_smallest_class_has() -> None:
    with pytest.raises(PenjingError, match=r"\[PJ357\] cannot draw 2 images of class 7") as caught:
        balanced(torch.tensor([1, 1, 7]), 2, seed=0)
    assert caught.value.because == "there are 1"
