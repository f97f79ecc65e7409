"""Scores: what every unit of every axis is worth, by a criterion."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from penjing.criteria.combine import NORMALISATIONS, Aggregate, Normalise
from penjing.criteria.criterion import Criterion, NetworkCriterion, UnitCriterion, WeightCriterion
from penjing.criteria.slices import over_slices
from penjing.criteria.statistics import Statistics
from penjing.errors import PenjingError
from penjing.network import Axis, Network


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
        missing = ", ".join(sorted(str(need) for need in record.needs - given.holds))
        raise PenjingError(
            "PJ302",
            f"`{record.name}` cannot score without {missing}",
            because="they come from data and a loss, and none were collected",
            tries=["statistics=criteria.collect(net, criterion.record.needs, data=..., loss=...)"],
        )
    raw = _raw(net, criterion, given, aggregate)
    normalised = NORMALISATIONS[normalise or record.normalise]
    scores: dict[str, Tensor] = {}
    for axis in net.prunable:
        _check(axis, raw[axis.name], record.name)
        scores[axis.name] = normalised(raw[axis.name])
    return scores


def _raw(net: Network, criterion: Criterion, statistics: Statistics, how: Aggregate) -> Mapping[str, Tensor]:
    if isinstance(criterion, WeightCriterion):
        totals = over_slices(net, lambda name, weight: criterion.worth(name, weight, statistics), how=how)
        return {name: criterion.finish(total) for name, total in totals.items()}
    if isinstance(criterion, NetworkCriterion):
        return criterion.worth(net, statistics, aggregate=how)
    assert isinstance(criterion, UnitCriterion), f"{criterion} scores neither weights nor units"
    return {axis.name: criterion.worth(axis, statistics).detach().cpu().double() for axis in net.prunable}


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
