"""Half of every axis: what to keep, by magnitude or at random, and what must then be left of each tensor."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from penjing.network import Axis, Network, trace
from penjing.plan import Plan
from penjing.surgery import Cut, cut
from tests.zoo.entry import Entry, Inputs

How = Literal["magnitude", "random"]
HOWS: tuple[How, ...] = ("magnitude", "random")


@dataclass(frozen=True)
class Halved:
    """One model of the zoo with half of its units removed."""

    entry: Entry
    net: Network
    plan: Plan
    cut: Cut

    @property
    def inputs(self) -> Inputs:
        return self.entry.inputs()


def halve(entry: Entry, how: How) -> Halved:
    """Traces (once for both choices), chooses and cuts."""
    net = traced(entry)
    plan = Plan(kept=choose(net, how))
    return Halved(entry, net, plan, cut(net, plan))


@lru_cache(maxsize=2)
def traced(entry: Entry) -> Network:
    return trace(entry.build(), entry.inputs())


def prunable(net: Network) -> list[Axis]:
    return [axis for axis in net.axes if axis.frozen is None]


def choose(net: Network, how: How) -> dict[str, tuple[int, ...]]:
    """Half of the units of every prunable axis, at least one; alike where the user's code halves a sum."""
    counts = {axis.name: max(1, axis.size // 2) for axis in prunable(net)}
    changed = True
    while changed:  # groups may overlap
        changed = False
        for group in net.balanced:
            free = [name for name in group if name in counts]
            least = min((counts[name] for name in free), default=0)
            for name in free:
                changed |= counts[name] != least
                counts[name] = least
    kept = {}
    for axis in prunable(net):
        if how == "magnitude":
            order = magnitudes(axis, net.model).argsort(descending=True, stable=True).tolist()
        else:
            order = random.Random(axis.name).sample(range(axis.size), axis.size)
        kept[axis.name] = tuple(sorted(order[: counts[axis.name]]))
    return kept


def magnitudes(axis: Axis, model: nn.Module) -> Tensor:
    """The L2 norm over all slices of each unit."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    total = torch.zeros(axis.size, dtype=torch.float64)
    for member in axis.members:
        if member.tensor not in parameters:
            continue
        slices = parameters[member.tensor].detach().double().movedim(member.dim, 0)
        rows = slices.reshape(len(member.units), -1).square().sum(1)
        for unit, row in zip(member.units, rows, strict=True):
            if unit >= 0:
                total[unit] += row
    return total.sqrt()


def survivors(net: Network, plan: Plan) -> dict[str, dict[int, list[int]]]:
    """For every tensor and dimension that loses indices, those that stay: none of whose units was removed."""
    length: dict[tuple[str, int], int] = {}
    gone: dict[tuple[str, int], set[int]] = defaultdict(set)
    for axis in prunable(net):
        kept = set(plan.kept[axis.name])
        for member in axis.members:
            place = member.tensor, member.dim
            length[place] = len(member.units)
            gone[place] |= {i for i, unit in enumerate(member.units) if unit >= 0 and unit not in kept}
    found: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for (tensor, dim), lost in gone.items():
        if lost:
            found[tensor][dim] = [i for i in range(length[tensor, dim]) if i not in lost]
    return dict(found)


def expected(tensor: Tensor, stay: dict[int, list[int]]) -> Tensor:
    for dim, indices in stay.items():
        tensor = tensor.index_select(dim, torch.tensor(indices))
    return tensor


def run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Flattened tensors of the outputs, those inside plain dataclasses too."""
    found: list[Any] = tree_leaves(model(**inputs) if isinstance(inputs, dict) else model(*inputs))
    flat = [leaf for one in found for leaf in (vars(one).values() if is_dataclass(one) else [one])]
    return [leaf for leaf in flat if isinstance(leaf, Tensor)]


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference over the largest element, the worst of all outputs."""
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        if other.numel():
            scale = other.double().abs().max().item() or 1.0
            worst = max(worst, ((one.double() - other.double()).abs().max() / scale).item())
    return worst
