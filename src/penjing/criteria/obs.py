"""Optimal Brain Surgeon for units: what is lost when a unit goes and those that stay make up for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.damping import LEAST, held_out
from penjing.criteria.grams import Reading
from penjing.criteria.products import energies
from penjing.criteria.statistics import Statistics
from penjing.network import Axis, Member

_LEAST, _LEAST_SHARE = 1e-30, 1e-9
"""What a variance is taken to be at least: an absolute one, and a share of that of the liveliest group."""

ROUNDS = 256
"""Units go one by one in an axis of up to so many; in larger ones, a share of those left at a time."""

_DENSE = 0.8
"""Share of features from which on the others are carried along."""


@dataclass(frozen=True)
class Consumer:
    """One layer that sums over the units of an axis.

    Attributes:
        weight: float64 [groups, outputs, features].
        covariance: of its features, float64 [groups, features, features].
        sensitivity: worth of a unit of squared error in each output, float64 [groups, outputs].
        units: the unit of every feature, int64 [features]; -1 for none.
        damping: added to the diagonal of the covariance, as a share of its mean.
    """

    weight: Tensor
    covariance: Tensor
    sensitivity: Tensor
    units: Tensor
    damping: float = LEAST


def removal(consumers: Sequence[Consumer], base: Tensor, *, rounds: int = ROUNDS) -> Tensor:
    """The error that each unit adds when it is removed, the cheapest first, with the others updated.

    Removing features J of a layer `w x` costs `tr(w_J (H^-1_JJ)^-1 w_J^T)` of squared error if all other
    weights are adjusted in the best way; then `w` and `H^-1` are those of the smaller problem. Units are
    taken out one by one in order of that cost, summed over consumers. The later a unit goes, the more
    depends on it, since those that could stand in for it are gone: worth adds up to what the cut as a whole
    costs.

    Args:
        consumers: all layers that sum over the axis.
        base: what each unit costs besides, float64 [size].
        rounds: at most so many updates; in larger axes several units go at a time.

    Returns:
        Worth by unit, float64 [size]; larger means keep; never below that of a unit that went before.

    Source: Hassibi and Stork 1992 (NeurIPS 5), for blocks of weights as in Kurtic, Frantar and Alistarh 2023
    (ZipLM), arXiv:2302.04089, equations 3 to 5; here over several layers, and with outputs weighed.
    """
    states = [_State(consumer, len(base)) for consumer in consumers]
    worth, left, most = torch.zeros_like(base), torch.ones_like(base, dtype=torch.bool), 0.0
    while bool(left.any()):
        cost = base.clone()
        for state in states:
            cost += state.cost()
        cost[~left] = torch.inf
        count = int(left.sum())
        gone = cost.argsort(stable=True)[: max(1, count // rounds)]
        for unit in gone.tolist():
            most = max(most, float(cost[unit]))
            worth[unit] = most
        left[gone] = False
        for state in states:
            state.remove(gone)
    return worth


def _inverse(covariance: Tensor, damping: float) -> Tensor:
    """Of the damped covariance, [groups, features, features]; damped more where rounding calls for it.

    Groups whose features never vary are damped by next to nothing, for they cost next to nothing.
    """
    level = covariance.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    level = level.clamp_min(max(_LEAST, _LEAST_SHARE * float(level.max()))).expand_as(covariance[:, 0])
    while True:
        factor, failed = torch.linalg.cholesky_ex(covariance + torch.diag_embed(damping * level))
        if not bool(failed.any()):
            return torch.cholesky_inverse(factor)
        damping *= 10.0


class _State:
    """One consumer with some of its features gone."""

    def __init__(self, consumer: Consumer, size: int) -> None:
        self._inverse = _inverse(consumer.covariance, consumer.damping)
        self._weight = consumer.weight * consumer.sensitivity.sqrt()[..., None]
        self._places = [(consumer.units == unit).nonzero().flatten() for unit in range(size)]
        self._alive = torch.ones(len(consumer.units), dtype=torch.bool)
        self._left: dict[int, list[int]] = defaultdict(list)
        for unit, places in enumerate(self._places):
            self._left[len(places)].append(unit)

    def cost(self) -> Tensor:
        """Of every unit that is left; zero for the others."""
        found = torch.zeros(len(self._places), dtype=torch.float64)
        for width, units in self._left.items():
            if not units or not width:
                continue
            places = torch.stack([self._places[unit] for unit in units])
            blocks = self._inverse[:, places[:, :, None], places[:, None, :]]
            if width == 1:  # thousands of systems of one equation each would take minutes
                squares = self._weight.square().sum(1)[:, places[:, 0]]
                found[units] = (squares / blocks[:, :, 0, 0]).sum(0)
                continue
            weight = self._weight[:, :, places].permute(0, 2, 3, 1)
            solved = torch.linalg.solve(blocks, weight @ weight.mT)
            found[units] = solved.diagonal(dim1=-2, dim2=-1).sum((0, 2))
        return found

    def remove(self, units: Tensor) -> None:
        """Takes features out, and lets the others make up for them."""
        gone = set(units.tolist())
        places = torch.cat([self._places[unit] for unit in gone])
        for width, left in self._left.items():
            self._left[width] = [unit for unit in left if unit not in gone]
        if not len(places) or not any(self._left.values()):
            return
        columns = self._inverse[:, :, places]
        update = torch.linalg.solve(columns[:, places], columns.mT)
        self._weight -= self._weight[:, :, places] @ update
        self._inverse -= columns @ update
        self._alive[places] = False
        if int(self._alive.sum()) < _DENSE * len(self._alive):
            self._compress()

    def _compress(self) -> None:
        """Forgets the features that are gone, so that updates cost less."""
        alive = self._alive.nonzero().flatten()
        self._inverse = self._inverse[:, alive[:, None], alive]
        self._weight = self._weight[:, :, alive]
        place = self._alive.cumsum(0) - 1
        self._places = [place[places] for places in self._places]
        self._alive = torch.ones(len(alive), dtype=torch.bool)


@final
@dataclass(frozen=True)
class Obs(UnitCriterion):
    """Squared error of the outputs when a unit goes and all weights beside it are solved again.

    What cannot be made up for by weights, because something else than a linear layer or convolution reads
    the unit (a recurrent layer), counts in full: squared outputs of the layers that make it, times what the
    network's outputs depend on them; and where no layer is known that makes it, the unit's share of its
    tensors' squared norm. The width of queries and keys counts with what products of a smaller width lose.
    """

    record: ClassVar[Record] = Record(
        name="obs",
        summary="error left when all other weights are solved again: tr(w_J (H^-1_JJ)^-1 w_J^T)",
        scores="units",
        needs=frozenset({"grams"}),
        normalise="none",
        source="Hassibi and Stork 1992, NeurIPS 5; Kurtic et al. 2023 (ZipLM), arXiv:2302.04089",
        cost="one backward a batch",
    )

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """As a share of the spread of the network's outputs."""
        assert statistics.grams is not None
        readings = statistics.grams.of(member.tensor for member in axis.members)
        consumers, made = [], torch.zeros(axis.size, dtype=torch.float64)
        unread, unmade = False, True
        for member in axis.members:
            reading = readings.get(member.tensor)
            if reading is None:
                unread = unread or statistics.grams.multiplies(member)
            elif member.dim == reading.projection.into:
                consumers += _consumers(reading, member)
            elif member.dim == reading.projection.out:
                made += _made(reading, member, axis.size)
                unmade = False
        if consumers and not unread:
            return removal(consumers, torch.zeros_like(made))
        if unmade:
            made = statistics.grams.norm_shares(axis)
        pair = statistics.grams.pairs.get(axis.name)
        if pair is not None and {pair.query.weight, pair.key.weight} <= readings.keys():
            energy = energies(axis, pair, readings, statistics.grams.parameter(pair.query.bias))
            made = made if energy is None else _ranked(made, energy)
        return removal(consumers, made)


def _ranked(made: Tensor, energy: Tensor) -> Tensor:
    """What all units cost together, which is counted twice, shared out as smaller widths lose it."""
    whole = energy.sum()
    worth = torch.empty_like(made)
    worth[made.argsort(descending=True, stable=True)] = energy / whole if whole > 0 else energy
    return worth * made.sum() / 2


def _consumers(reading: Reading, member: Member) -> list[Consumer]:
    """One, or one for each group where groups read different units."""
    labels = reading.projection.read_by(member.units)
    parts = [slice(None)] if len(set(labels)) == 1 else [slice(g, g + 1) for g in range(len(labels))]
    matrix, covariance, halves = reading.matrix.double(), reading.covariance, reading.halves
    found = []
    for part, units in zip(parts, labels, strict=False):
        weight, sensitivity = matrix[part], reading.sensitivity[part]
        damping, factor = LEAST, 1.0
        if len(halves) == 2:
            squares = (sensitivity[..., None] * weight.square()).sum(1)
            damping, factor = held_out([half[part] for half in halves], squares)
        consumer = Consumer(weight, covariance[part], factor * sensitivity, torch.tensor(units), damping)
        found.append(consumer)
    return found


def _made(reading: Reading, member: Member, size: int) -> Tensor:
    """What it costs that the outputs of a layer which belong to a unit are zero, [size]."""
    units = torch.tensor(reading.projection.made_by(member.units))
    known = units >= 0
    worth = (reading.energy * reading.sensitivity).flatten()
    return torch.zeros(size, dtype=torch.float64).index_add_(0, units[known], worth[known])
