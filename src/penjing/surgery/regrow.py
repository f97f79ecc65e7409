"""A cut network at the original's size again, with the weights that it has now, and its axes by their names.

What is cut from the regrown network by the same plan is the cut network itself; what is cut from it by a
tighter plan is the cut network cut again. However often a network is cut, and whatever is done to it in
between, one plan of the original says what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from penjing.network import Network
from penjing.network.copied import copied
from penjing.surgery.copies import recompute
from penjing.surgery.cut import Keeping
from penjing.surgery.selection import Selection


def regrown(net: Network, plan: Keeping, model: nn.Module) -> nn.Module:
    """A copy of the original whose kept units hold what `model` has.

    Args:
        net: the original.
        plan: what `model` was cut by; units that are gone hold what they hold in the original.
        model: of the user's own class or the rewritten graph, whatever its weights are now.
    """
    whole: nn.Module = copied(net.model)
    selection = Selection(net, plan.kept, plan.dropped)
    now = model.state_dict()
    own = whole.state_dict(keep_vars=True)
    done: set[int] = set()
    with torch.no_grad():
        for name in sorted(own, key=lambda name: name not in net.tensors):  # aliases of a tensor come last
            tensor = own[name]
            if name not in now or not isinstance(tensor, Tensor) or id(tensor) in done:
                continue
            done.add(id(tensor))
            kept = selection.kept_of(net.tensors.get(name, ()))
            _write(tensor, kept, now[name])
        for module in whole.modules():
            recompute(module)
    return whole


def _write(tensor: Tensor, kept: Mapping[int, Sequence[int]], value: Tensor) -> None:
    """Writes `value` to the kept indices of each dimension that is named, all of the others."""
    if not kept:
        assert tensor.shape == value.shape, f"{tuple(value.shape)} for {tuple(tensor.shape)}"
        tensor.copy_(value)
        return
    where = [
        torch.as_tensor(kept.get(place, range(size)), dtype=torch.long, device=tensor.device)
        for place, size in enumerate(tensor.shape)
    ]
    assert value.shape == tuple(map(len, where)), f"{tuple(value.shape)} for {[*map(len, where)]}"
    tensor[torch.meshgrid(*where, indexing="ij")] = value.to(tensor.device, tensor.dtype)


def same_axes(net: Network, plan: Keeping, small: Network) -> dict[str, str]:
    """Which axis of a cut network is which of the original.

    The units of both are in the same order: unit `i` of the smaller is the `i`-th that `plan` keeps. An axis
    is the same where it runs through the same tensors, but for those that went with a branch, and gives every
    index of them to the same unit.

    Args:
        net: the original.
        plan: what the cut network was cut by.
        small: the cut network, traced.

    Returns:
        Name in the original -> name in the cut network, for axes that may be cut in both. One that is not
        found has become another: it was left with a single unit, for instance.
    """
    places = {
        (member.tensor, member.dim, member.units): axis.name
        for axis in small.prunable
        for member in axis.members
    }
    selection = Selection(net, plan.kept, plan.dropped)
    found = {}
    for axis in net.prunable:
        number = {unit: place for place, unit in enumerate(plan.kept.get(axis.name, range(axis.size)))}
        names = set()
        for member in axis.members:
            if member.tensor in selection.unread:
                continue
            kept = selection.kept_of(net.tensors[member.tensor]).get(member.dim, range(len(member.units)))
            units = tuple(number.get(member.units[index], -1) for index in kept)
            names.add(places.get((member.tensor, member.dim, units)))
        name = names.pop() if names else None
        if name is not None and not names and small.axis(name).size == len(number):
            found[axis.name] = name
    return found
