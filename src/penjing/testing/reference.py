"""What a cut must equal: the plain function at full size, in which units that are gone have no influence."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, product
from typing import Any

import torch

from penjing.axes import Dim, fold
from penjing.network import Network
from penjing.surgery.graph import rewrite
from penjing.surgery.masked import run_masked
from penjing.surgery.proof import exact
from penjing.surgery.selection import Selection
from penjing.testing.probe import Function, Outputs, input_dims, output_dims, run

Masked = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], Any]
Indices = list[list[list[int]]]
"""For every tensor, for every dimension of it: indices."""


class Difference(Exception):  # noqa: N818 - a finding
    """Two sets of outputs that should be equal and are not."""


class Reference:
    """Compares the cut graph, and the masked run that later proofs rely on, with the plain function."""

    def __init__(
        self, net: Network, function: Function, tensors: Sequence[torch.Tensor], masked: Masked | None
    ) -> None:
        """Takes the solved function, its arguments in float64, and its masked form where it normalises."""
        self._net, self._function, self._tensors, self._masked = net, function, tensors, masked
        self._inputs, self._outputs = input_dims(net, len(tensors)), output_dims(net)
        self.by_what_is_left = masked is None and any(op.normalises for op in net.solution.ops.values())

    def compare(self, kept: Mapping[str, Sequence[int]]) -> float:
        """The largest difference when each axis keeps some units, over the largest element.

        Raises:
            Difference: a shape is another.
        """
        selection = Selection(self._net, kept)
        inputs, outputs = (
            [self._kept(selection, dims) for dims in side] for side in (self._inputs, self._outputs)
        )
        expected = self._expected(inputs, outputs)
        smaller = rewrite(self._net, selection).double().eval()
        cut = run(smaller, self._net.call.args)
        with exact():
            masked = pick(run_masked(self._net, selection, self._net.call), outputs)
        apart = difference(cut, expected, "the cut operator")
        return max(apart, difference(masked, expected, "the masked run"))

    def shuffle(self, chosen: random.Random) -> float:
        """The largest difference between outputs in another order, and outputs of inputs in that order."""
        orders: dict[Dim, list[int]] = {}
        for axis in self._net.prunable:
            (atom,) = self._net.atoms_kept({axis.name: ()})
            orders[atom] = chosen.sample(range(axis.size), axis.size)
        inputs, outputs = (
            [self._order(dims, orders) for dims in side] for side in (self._inputs, self._outputs)
        )
        after = run(self._function, pick(self._tensors, inputs))
        before = run(self._function, self._tensors)
        return difference(after, pick(before, outputs), "the operator on units in another order")

    def _expected(self, inputs: Indices, outputs: Indices) -> Outputs:
        if self.by_what_is_left:
            return self._of_what_is_left(pick(self._tensors, inputs))
        masks = [_mask(tensor, kept) for tensor, kept in zip(self._tensors, inputs, strict=True)]
        if self._masked is not None:
            masked = self._masked
            return pick(run(lambda *tensors: masked(tensors, masks), self._tensors), outputs)
        zeroed = [tensor.masked_fill(~mask, 0) for tensor, mask in zip(self._tensors, masks, strict=True)]
        return pick(run(self._function, zeroed), outputs)

    def _of_what_is_left(self, tensors: Outputs) -> Outputs:
        try:
            return run(self._function, tensors)
        except RuntimeError as error:
            raise Difference(
                f"the function does not run on what is left ({error}): write it so that it reads sizes off "
                "its tensors, or give `masked`"
            ) from error

    def _kept(self, selection: Selection, dims: Sequence[Dim]) -> list[list[int]]:
        every = [list(range(self._net.solution.space.size(dim))) for dim in dims]
        return [
            all_ if (some := selection.kept(dim)) is None else some
            for dim, all_ in zip(dims, every, strict=True)
        ]

    def _order(self, dims: Sequence[Dim], orders: Mapping[Dim, list[int]]) -> list[list[int]]:
        """Where every index comes from when the units of each axis are in another order."""
        space = self._net.solution.space

        def factors(parts: Sequence[list[int]]) -> list[int]:
            found = [0]
            for part in parts:
                found = [slow * len(part) + fast for slow, fast in product(found, part)]
            return found

        def terms(parts: Sequence[list[int]]) -> list[int]:
            starts = accumulate((len(part) for part in parts), initial=0)
            return [start + index for start, part in zip(starts, parts, strict=False) for index in part]

        return [
            fold(space, dim, lambda atom: orders.get(atom, list(range(space.size(atom)))), factors, terms)
            for dim in dims
        ]


def pick(tensors: Sequence[torch.Tensor], indices: Indices) -> Outputs:
    """Some indices of every dimension of every tensor; all of a tensor for which none are given."""
    found = []
    for tensor, by_dim in zip(tensors, indices, strict=True):
        for dim, wanted in enumerate(by_dim):
            tensor = tensor.index_select(dim, torch.tensor(wanted, dtype=torch.long))
        found.append(tensor)
    return found


def difference(found: Outputs, expected: Outputs, who: str) -> float:
    """The largest difference over the largest element, both absolute; equal infinities and NaN are equal.

    Raises:
        Difference: there are more or fewer outputs, or one has another shape.
    """
    shapes, wanted = ([tuple(one.shape) for one in side] for side in (found, expected))
    if shapes != wanted:
        raise Difference(f"{who} gives shapes {shapes} where {wanted} should be left")
    worst, largest = 0.0, 0.0
    for one, other in zip(found, expected, strict=True):
        one, other = (
            torch.view_as_real(side.resolve_conj()) if side.is_complex() else side.double()
            for side in (one, other)
        )
        if not one.numel():
            continue
        same = (one == other) | (one.isnan() & other.isnan())
        worst = max(
            worst, float((one - other).abs().nan_to_num(nan=float("inf")).masked_fill(same, 0.0).max())
        )
        largest = max(largest, float(other.masked_fill(~other.isfinite(), 0.0).abs().max()))
    return worst / largest if largest else worst


def _mask(tensor: torch.Tensor, kept: Sequence[Sequence[int]]) -> torch.Tensor:
    mask = torch.ones(tensor.shape, dtype=torch.bool)
    for dim, indices in enumerate(kept):
        here = torch.zeros(tensor.shape[dim], dtype=torch.bool)
        here[torch.tensor(indices, dtype=torch.long)] = True
        mask &= here.view([-1 if at == dim else 1 for at in range(tensor.ndim)])
    return mask
