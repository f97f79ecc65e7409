"""The slices of units: which parameters carry which axis, and what their elements add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from penjing.criteria.combine import Aggregate, aggregated
from penjing.network import Member, Network


def over_slices(net: Network, worth: Callable[[str, Tensor], Tensor], *, how: Aggregate) -> dict[str, Tensor]:
    """Axis name -> one figure for each unit, float64 [size], from a figure for each weight.

    Args:
        net: the network.
        worth: (name, parameter) -> a figure for each element; asked once for every parameter, and reduced to
            the indices of every dimension that an axis runs along.
        how: how the slices of a unit are put together.
    """
    slices: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for name, (weight, members) in carriers(net).items():
        found = worth(name, weight)
        assert found.shape == weight.shape, f"`{name}`: {found.shape} for {weight.shape}"
        along = {dim: _reduced(found, dim) for dim in {member.dim for _, member in members}}
        for axis, member in members:
            slices[axis].append((along[member.dim], torch.tensor(member.units, dtype=torch.int64)))
    return {axis.name: aggregated(slices[axis.name], axis.size, how=how) for axis in net.prunable}


def carriers(net: Network) -> Mapping[str, tuple[Tensor, Sequence[tuple[str, Member]]]]:
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
