"""The judge of what could be cut: it perturbs one index and watches, and knows no rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from penjing.testing.separable import separable

CASES: tuple[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...], str, str], ...] = (
    ("elementwise", torch.tanh, ((2, 3),), "0.0 0.1", ""),
    ("linear", F.linear, ((2, 3), (4, 3)), "0.0 0.1 1.0 1.1", ""),
    ("kernel of two pixels", F.conv1d, ((2, 3, 5), (4, 3, 2)), "0.0 0.1 1.0 1.1", "0.2 1.2"),
    ("permuted", lambda x: x.flip(1), ((2, 3),), "0.0 0.1", ""),
    ("sum", lambda x: x.sum(1), ((2, 3),), "0.0 0.1", ""),
    ("mean", lambda x: x.mean(1), ((2, 3),), "0.0", "0.1"),
    ("triangle", torch.tril, ((4, 4),), "", "0.0 0.1"),
    ("sorted", lambda x: x.sort(1).values, ((2, 5),), "0.0", "0.1"),
    ("stated size", lambda x: x.view(2, 6), ((2, 3, 2),), "", "0.0 0.1 0.2"),
    ("too large to try", torch.tanh, ((2, 20),), "0.0", "0.1"),
    ("single", torch.tanh, ((2, 1),), "0.0", "0.1"),
)


@pytest.mark.parametrize(("name", "function", "shapes", "yes", "no"), CASES, ids=[case[0] for case in CASES])
def test_judge_tells_separable_dimensions_from_others(
    name: str, function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], yes: str, no: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]

    def judged(place: str) -> bool:
        tensor, dim = map(int, place.split("."))
        return separable(function, tensors, (tensor, dim))

    assert [place for place in yes.split() if not judged(place)] == []
    assert [place for place in no.split() if judged(place)] == []
