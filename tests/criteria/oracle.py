"""Scores by plain loops over numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from penjing.network import Axis, Network

Array = NDArray[np.float64]


def arrays(net: Network) -> dict[str, Array]:
    """Every parameter by every name it has, as float64."""
    named = net.model.named_parameters(remove_duplicate=False)
    return {name: value.detach().numpy().astype(np.float64) for name, value in named}


def member_sums(axis: Axis, net: Network, worth: Mapping[str, Array]) -> list[dict[int, float]]:
    """For each dimension of a parameter that carries the axis: unit -> sum over its slice."""
    parameters = dict(net.model.named_parameters(remove_duplicate=False))
    seen: set[tuple[int, int, tuple[int, ...]]] = set()
    found = []
    for member in axis.members:
        if member.tensor not in parameters:
            continue
        place = (id(parameters[member.tensor]), member.dim, member.units)
        if place in seen:
            continue
        seen.add(place)
        sums: dict[int, float] = {}
        for at, value in np.ndenumerate(worth[member.tensor]):
            unit = member.units[at[member.dim]]
            if unit >= 0:
                sums[unit] = sums.get(unit, 0.0) + float(value)
        found.append(sums)
    return found


def scores(net: Network, worth: Mapping[str, Array], how: str) -> dict[str, list[float]]:
    """Axis name -> a figure for each unit, slices put together by `how`, not normalised."""
    found: dict[str, list[float]] = {}
    for axis in net.prunable:
        sums = member_sums(axis, net, worth)
        per_unit = [[s[unit] for s in sums if unit in s] for unit in range(axis.size)]
        if how == "sum":
            found[axis.name] = [sum(values) for values in per_unit]
        elif how == "mean":
            found[axis.name] = [sum(values) / len(values) for values in per_unit]
        else:
            found[axis.name] = [max(values) for values in per_unit]
    return found
