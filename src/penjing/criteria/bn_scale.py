"""Network slimming: a channel that its batch norm scales by little does little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.combine import Aggregate, aggregated
from penjing.criteria.criterion import NetworkCriterion, Record
from penjing.criteria.magnitude import magnitude
from penjing.criteria.slices import carriers, over_slices
from penjing.criteria.statistics import Statistics
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.arguments import operator_name
from penjing.network.scaling import scalings


def bn_scale(gammas: Mapping[str, Tensor], norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|gamma| of every unit of every axis, and what stands in for it where there is none.

    Args:
        gammas: axis -> mean of |gamma| over the batch norms of each unit, float64 [size]; only axes all of
            whose units have one. At least one axis.
        norms: axis -> for each unit the L2 norm of all its weights, float64 [size]; the other axes.

    Returns:
        Non-negative, float64 [size] for each axis; larger means keep. Comparable across axes: behind a batch
        norm, all channels vary alike. An axis without one has its norms, scaled so that their mean is the
        mean |gamma| of all units that have one: its units stand to each other as by `magnitude`, and to
        those of other axes as average units do.

    Source: Liu et al. 2017, arXiv:1708.06519, section 3. They train with an L1 penalty on gamma first, which
    is what makes small ones mean little; here gammas are taken as they are, and those of a network that was
    not trained so say less. They rank batch-normed channels only; a budget needs a figure for every axis.
    """
    mean = float(torch.cat([*gammas.values()]).mean())
    found = dict(gammas)
    for axis, norm in norms.items():
        average = float(norm.mean())
        found[axis] = norm * (mean / average) if average > 0 else norm
    return found


@final
@dataclass(frozen=True)
class BnScale(NetworkCriterion):
    """|gamma| of the batch norms on an axis, averaged over them.

    Batch norms only: layer, group and instance norms divide by what is no running statistic of one channel.
    The mean over several batch norms of one axis, whatever `aggregate` says: an axis is not worth more for
    having more of them.
    """

    record: ClassVar[Record] = Record(
        name="bn_scale",
        summary="|gamma| of the batch norms of a unit",
        scores="units",
        needs=frozenset(),
        normalise="none",
        source="Liu et al. 2017, arXiv:1708.06519",
        cost="weights alone",
    )

    def worth(self, net: Network, statistics: Statistics, *, aggregate: Aggregate) -> dict[str, Tensor]:
        """|gamma|, or norms in their place.

        Raises:
            PenjingError: PJ309, no axis that may be cut has a batch norm.
        """
        gammas = _gammas(net)
        others = [axis.name for axis in net.prunable if axis.name not in gammas]
        if not gammas and others:
            raise PenjingError(
                "PJ309",
                f"`bn_scale` has nothing to go by in {len(others)} axes",
                because="no axis that may be cut has a batch norm with a scale",
                path=", ".join(others[:4]),
                tries=['criterion="magnitude"', 'criterion="taylor", with data and a loss'],
            )
        totals = over_slices(net, lambda name, weight: magnitude(weight, p=2), how="sum") if others else {}
        found = bn_scale(gammas, {name: totals[name].sqrt() for name in others}) if gammas else {}
        return {axis.name: found[axis.name] for axis in net.prunable}


def _gammas(net: Network) -> dict[str, Tensor]:
    """Axis -> mean of |gamma| for each unit; where every unit has one."""
    scales = {
        scaling.weight
        for node, scaling in scalings(net.trace).items()
        if operator_name(node.target) == "aten.batch_norm"
    }
    slices: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, (weight, members) in carriers(net).items():
        for axis, member in members:
            if {name, member.tensor} & scales:
                part = (weight.abs().double().cpu(), torch.tensor(member.units, dtype=torch.int64))
                slices.setdefault(axis, []).append(part)
    found = {}
    for axis, parts in slices.items():
        size = net.axis(axis).size
        if set(range(size)) <= {unit for _, units in parts for unit in units.tolist()}:
            found[axis] = aggregated(parts, size, how="mean")
    return found
