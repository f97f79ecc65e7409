"""Cutting a generated network, and what must hold of the result."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from penjing.network import Axis, Network
from penjing.plan import Plan
from penjing.surgery import TOLERANCE

Kept = dict[str, tuple[int, ...]]


def half(net: Network, rng: Random) -> Plan:
    """A random half of the units of every prunable axis; axes that the user's code balances stay so."""
    counts = {axis.name: max(1, axis.size // 2) for axis in net.axes if axis.frozen is None}
    changed = True
    while changed:
        changed = False
        for group in net.balanced:
            free = [name for name in group if name in counts]
            for name in free:
                changed |= counts[name] != min(counts[other] for other in free)
                counts[name] = min(counts[other] for other in free)
    return Plan(
        kept={name: tuple(sorted(rng.sample(range(net.axis(name).size), n))) for name, n in counts.items()}
    )


def without(axis: Axis, unit: int) -> Plan:
    """Everything but one unit of one axis."""
    return Plan(kept={axis.name: tuple(u for u in range(axis.size) if u != unit)})


def slices(net: Network, kept: Kept) -> dict[tuple[str, int], set[int]]:
    """(tensor, dimension) -> indices that go, read off the members of the axes."""
    gone: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name, units in kept.items():
        stays = {-1, *units}
        for member in net.axis(name).members:
            gone[member.tensor, member.dim] |= {i for i, unit in enumerate(member.units) if unit not in stays}
    return {place: indices for place, indices in gone.items() if indices}


def zeroed(model: nn.Module, gone: dict[tuple[str, int], set[int]]) -> nn.Module:
    """A float64 copy of the original with zeros in all parameters where slices go."""
    copy = deepcopy(model).double().eval()
    parameters = dict(copy.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for (name, dim), indices in gone.items():
            if name in parameters:
                parameters[name].index_fill_(dim, torch.tensor(sorted(indices)), 0.0)
    return copy


class _Wide(TorchDispatchMode):
    """Makes a graph that states float32 (the first state of a recurrent layer) compute in float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def wide(leaf: Any) -> Any:
            return torch.float64 if leaf is torch.float32 else leaf

        args, kwargs = pytree.tree_map(wide, (args, kwargs or {}))
        return func(*args, **kwargs)


def outputs(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Flattened outputs in float64."""
    model = deepcopy(model).double().eval()
    with torch.no_grad(), _Wide():
        made = model(*(x.double() if x.is_floating_point() else x for x in inputs))
    return [leaf for leaf in pytree.tree_leaves(made) if isinstance(leaf, Tensor)]


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference over the largest element wanted; infinite where shapes differ."""
    if [one.shape for one in found] != [one.shape for one in wanted]:
        return float("inf")
    largest = max(float(one.abs().max()) for one in wanted)
    worst = max(
        float((a - b).abs().nan_to_num(nan=float("inf")).max()) for a, b in zip(found, wanted, strict=True)
    )
    return worst / largest if largest else worst


def agrees(found: list[Tensor], wanted: list[Tensor]) -> bool:
    """Whether they are the same, as far as float64 can tell."""
    return apart(found, wanted) <= TOLERANCE


def wrong_shapes(net: Network, kept: Kept, model: nn.Module) -> list[str]:
    """Parameters of a cut model that do not have exactly the slices that stay."""
    gone = slices(net, kept)
    after = dict(model.named_parameters(remove_duplicate=False))
    wrong = []
    for name, before in net.model.named_parameters(remove_duplicate=False):
        want = before.detach()
        for dim in range(before.dim()):
            stays = [i for i in range(before.shape[dim]) if i not in gone.get((name, dim), ())]
            want = want.index_select(dim, torch.tensor(stays))
        if name in after and not torch.equal(after[name].detach(), want):
            wrong.append(f"{name}: {tuple(after[name].shape)}, expected {tuple(want.shape)}")
    if not any((name, dim) in gone for name in after for dim in range(after[name].dim())):
        wrong.append("nothing became smaller")
    return wrong


def without_gradient(model: nn.Module, original: nn.Module, inputs: tuple[Tensor, ...]) -> list[str]:
    """Parameters that get a finite gradient in the original and none in the cut model."""
    before, after = _gradients(original, inputs), _gradients(model, inputs)
    return [name for name, finite in before.items() if finite and name in after and not after[name]]


def _gradients(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, bool]:
    model = deepcopy(model)
    made = [leaf for leaf in pytree.tree_leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    torch.stack([one.square().mean() for one in made]).sum().backward()
    named = model.named_parameters(remove_duplicate=False)
    return {name: p.grad is not None and bool(p.grad.isfinite().all()) for name, p in named}
