"""Scores: what every unit of every axis is worth, by a criterion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from penjing.criteria.combine import NORMALISATIONS, Aggregate, Normalise, aggregated
from penjing.criteria.criterion import Criterion, UnitCriterion, WeightCriterion
from penjing.criteria.statistics import Statistics
from penjing.errors import PenjingError
from penjing.network import Axis, Member, Network


def score(
    net: Network,
    criterion: Criterion,
    statistics: Statistics | None = None,
    *,
    aggregate: Aggregate = "sum",
    normalise: Normalise | None = None,
) -> dict[str, Tensor]:
    """What every unit of every axis that may be cut is worth; larger means keep.

    A unit's slices are those of parameters: buffers (running statistics, position tables) are cut along,
    but nobody trained them. A parameter under several names counts once. Where an axis runs along two
    dimensions of one parameter, a weight in the slices of two units counts for both.

    Args:
        net: the network.
        criterion: from `criteria.get`, or your own.
        statistics: from `criteria.collect`; None where the criterion needs none.
        aggregate: how a unit's slices in several tensors are put together; see `penjing.criteria.combine`.
            Criteria that score units as a whole have nothing to aggregate.
        normalise: how axes are made comparable; None for the criterion's own default.

    Returns:
        Axis name -> float64 [axis.size], on the CPU.

    Raises:
        PenjingError: PJ302, statistics that the criterion needs are missing; PJ305, scores that are not
            finite.
    """
    record, given = criterion.record, statistics or Statistics()
    if not record.needs <= given.holds:
        missing = ", ".join(sorted(record.needs - given.holds))
        raise PenjingError(
            "PJ302",
            f"`{record.name}` cannot score without {missing}",
            because="they come from data and a loss, and none were collected",
            tries=["statistics=criteria.collect(net, criterion.record.needs, data=..., loss=...)"],
        )
    if isinstance(criterion, WeightCriterion):
        raw = _over_weights(net, criterion, given, aggregate)
    else:
        assert isinstance(criterion, UnitCriterion), f"{criterion} scores neither weights nor units"
        raw = {axis.name: criterion.worth(axis, given).detach().cpu().double() for axis in net.prunable}
    normalised = NORMALISATIONS[normalise or record.normalise]
    scores: dict[str, Tensor] = {}
    for axis in net.prunable:
        _check(axis, raw[axis.name], record.name)
        scores[axis.name] = normalised(raw[axis.name])
    return scores


def _over_weights(
    net: Network, criterion: WeightCriterion, statistics: Statistics, how: Aggregate
) -> dict[str, Tensor]:
    """Each parameter is scored once and reduced to the indices of every dimension that an axis runs along."""
    slices: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for name, (weight, members) in _carriers(net).items():
        worth = criterion.worth(name, weight, statistics)
        assert worth.shape == weight.shape, f"{criterion.record.name}: {worth.shape} for {weight.shape}"
        along = {dim: _reduced(worth, dim) for dim in {member.dim for _, member in members}}
        for axis, member in members:
            slices[axis].append((along[member.dim], torch.tensor(member.units, dtype=torch.int64)))
    return {
        axis.name: criterion.finish(aggregated(slices[axis.name], axis.size, how=how))
        for axis in net.prunable
    }


def _carriers(net: Network) -> Mapping[str, tuple[Tensor, Sequence[tuple[str, Member]]]]:
    """Every parameter that carries an axis which may be cut, once, with the dimensions that do."""
    trained: dict[str, nn.Parameter] = dict(net.model.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    found: dict[str, tuple[Tensor, list[tuple[str, Member]]]] = {}
    seen: set[tuple[int, str, int, tuple[int, ...]]] = set()
    for axis in net.prunable:
        for member in axis.members:
            if (weight := trained.get(member.tensor)) is None:
                continue
            place = (id(weight), axis.name, member.dim, member.units)
            if place not in seen:
                seen.add(place)
                name = first.setdefault(id(weight), member.tensor)
                found.setdefault(name, (weight.detach(), []))[1].append((axis.name, member))
    return found


def _reduced(worth: Tensor, dim: int) -> Tensor:
    """Sums over every dimension but `dim`, in float64."""
    others = [place for place in range(worth.dim()) if place != dim]
    return (worth.sum(others, dtype=torch.float64) if others else worth.double()).cpu()


def _check(axis: Axis, scores: Tensor, name: str) -> None:
    assert scores.shape == (axis.size,), f"{name}: {tuple(scores.shape)} for {axis.size} units of {axis.name}"
    bad = (~scores.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise PenjingError(
            "PJ305",
            f"`{name}` gives {len(bad)} of {axis.size} units of `{axis.name}` no finite score",
            because=f"unit {bad[0]} scores {scores[bad[0]].item()}",
            path=", ".join(dict.fromkeys(member.tensor for member in axis.members[:4])),
            tries=["look for NaN, infinite or huge values in these tensors", 'criterion="random" reads none'],
        )
