"""Which dimensions could be cut, found by perturbing one index and watching: nothing here knows a rule.

A dimension is separable in one of two ways. *Passed on*: its indices reach disjoint parts of the outputs.
*Summed over*: where an index is zero in one tensor, its partners' values no longer matter. In both, the
function applied to some of the indices must give what it gave for them before; one that cannot be applied to
fewer is not shown to be separable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from penjing.testing.probe import Outputs, run

Place = tuple[int, int]
"""A dimension: which tensor, which of its dimensions."""

_LARGEST = 16
_Reach = list[list[torch.Tensor]]


def separable(function: Callable[..., Any], tensors: Sequence[torch.Tensor], place: Place) -> bool:
    """Whether dimension `place` is shown to be separable, index by index."""
    judge = _Judge(function, tensors)
    if not 1 < judge.size(place) <= _LARGEST:
        return False
    return judge.passed_on(place) or judge.summed_over(place)


class _Judge:
    def __init__(self, function: Callable[..., Any], tensors: Sequence[torch.Tensor]) -> None:
        self._function, self._tensors = function, list(tensors)
        self._before = run(function, tensors)
        self._generator = torch.Generator().manual_seed(0)

    def size(self, place: Place) -> int:
        return self._tensors[place[0]].shape[place[1]]

    def passed_on(self, place: Place) -> bool:
        """Each index reaches its own part of every output that any of them reaches."""
        parts = self._parts(place)
        if not parts:
            return False
        partners = [other for other in self._alike(place) if self._parts(other) == parts]
        for kept in _subsets(self.size(place)):
            after = self._try(self._gathered([place, *partners], kept))
            expected = list(self._before)
            for output, (dim, reached) in parts.items():
                left = sorted(index for unit in kept for index in reached[unit])
                expected[output] = expected[output].index_select(dim, torch.tensor(left))
            if after is None or not _same(after, expected):
                return False
        return True

    def summed_over(self, place: Place) -> bool:
        """Zeros at an index make its partners' values immaterial, and the index can then be left out."""
        partners = [other for other in self._alike(place) if self._silenced(place, other)]
        for kept in _subsets(self.size(place)):
            gone = [unit for unit in range(self.size(place)) if unit not in kept]
            zeroed = self._tensors
            for one in (place, *partners):
                zeroed = _replaced(zeroed, one, gone, lambda old: torch.zeros_like(old))
            expected, after = self._try(zeroed), self._try(self._gathered([place, *partners], kept))
            if expected is None or after is None or not _same(after, expected):
                return False
        return True

    def _alike(self, place: Place) -> list[Place]:
        """Other dimensions of the same size."""
        every = [(t, d) for t, tensor in enumerate(self._tensors) for d in range(tensor.ndim)]
        return [other for other in every if other != place and self.size(other) == self.size(place)]

    def _parts(self, place: Place) -> dict[int, tuple[int, list[list[int]]]]:
        """Output -> (dimension, what each index reaches along it); {} where parts of an output overlap."""
        reach: _Reach = []
        for unit in range(self.size(place)):
            touched = [torch.zeros_like(one, dtype=torch.bool) for one in self._before]
            for _ in range(2):
                after = self._try(_replaced(self._tensors, place, [unit], self._drawn))
                if after is None or any(
                    one.shape != other.shape for one, other in zip(after, self._before, strict=True)
                ):
                    return {}
                touched = [
                    seen | _apart(a, b) for seen, a, b in zip(touched, after, self._before, strict=True)
                ]
            reach.append(touched)
        found: dict[int, tuple[int, list[list[int]]]] = {}
        for output in range(len(self._before)):
            touched = [units[output] for units in reach]
            if not any(bool(one.any()) for one in touched):
                continue
            ways = [(dim, _along(touched, dim)) for dim in range(self._before[output].ndim)]
            disjoint = [
                way
                for way in ways
                if all(way[1]) and len({i for part in way[1] for i in part}) == sum(map(len, way[1]))
            ]
            if not disjoint:
                return {}
            found[output] = disjoint[0]
        return found

    def _silenced(self, place: Place, other: Place) -> bool:
        for unit in range(self.size(place)):
            zeroed = _replaced(self._tensors, place, [unit], lambda old: torch.zeros_like(old))
            one, two = self._try(zeroed), self._try(_replaced(zeroed, other, [unit], self._drawn, but=place))
            if one is None or two is None or not _same(one, two):
                return False
        return True

    def _gathered(self, places: Sequence[Place], kept: Sequence[int]) -> list[torch.Tensor]:
        tensors = list(self._tensors)
        for tensor, dim in places:
            tensors[tensor] = tensors[tensor].index_select(dim, torch.tensor(kept))
        return tensors

    def _drawn(self, old: torch.Tensor) -> torch.Tensor:
        if old.dtype is torch.bool:
            return ~old
        if old.is_floating_point() or old.is_complex():
            return old + torch.randn(old.shape, dtype=old.dtype, generator=self._generator)
        return old.flatten()[torch.randperm(old.numel(), generator=self._generator)].view(old.shape)

    def _try(self, tensors: Sequence[torch.Tensor]) -> Outputs | None:
        try:
            return run(self._function, tensors)
        except (
            RuntimeError,
            IndexError,
            ValueError,
            AssertionError,
        ):  # sizes that the function does not take
            return None


def _replaced(
    tensors: Sequence[torch.Tensor],
    place: Place,
    units: Sequence[int],
    change: Callable[[torch.Tensor], torch.Tensor],
    but: Place | None = None,
) -> list[torch.Tensor]:
    """The tensors with slices of one changed; of its own slices at `but`, none."""
    tensor, dim = place
    changed = tensors[tensor].clone()
    at = torch.tensor(units)
    slices = change(changed.index_select(dim, at))
    if but is not None and but[0] == tensor:
        slices.index_copy_(but[1], at, changed.index_select(dim, at).index_select(but[1], at))
    changed.index_copy_(dim, at, slices)
    return [changed if number == tensor else one for number, one in enumerate(tensors)]


def _subsets(size: int) -> list[list[int]]:
    """Some of the indices: a gap in the middle, every second, the last alone."""
    middle = size // 2
    tried = ([i for i in range(size) if i != middle], list(range(1, size, 2)), [size - 1])
    return [kept for number, kept in enumerate(tried) if kept and kept not in tried[:number]]


def _along(touched: Sequence[torch.Tensor], dim: int) -> list[list[int]]:
    """For each unit, the indices along `dim` at which it touches anything."""
    return [
        one.movedim(dim, 0).reshape(one.shape[dim], -1).any(1).nonzero().flatten().tolist() for one in touched
    ]


def _apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return ~torch.isclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True)


def _same(left: Outputs, right: Outputs) -> bool:
    if len(left) != len(right) or any(
        one.shape != other.shape for one, other in zip(left, right, strict=True)
    ):
        return False
    return not any(bool(_apart(one, other).any()) for one, other in zip(left, right, strict=True))
