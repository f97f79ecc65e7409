"""Plans by hand, and cuts made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from penjing.network import Axis, Network, trace
from penjing.surgery import Cut, cut

Units = tuple[int, ...]


@dataclass(frozen=True)
class Keep:
    """A plan: kept units by axis, and branches left out."""

    kept: Mapping[str, Units] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shrunk:
    """A traced model, its plan, and the cut."""

    net: Network
    keep: Keep
    cut: Cut

    @property
    def model(self) -> Any:
        return self.cut.model


def every_other(net: Network, *names: str) -> dict[str, Units]:
    """Units 1, 3, 5 ... of the named axes, or of all that may be cut; leading slices would be wrong."""
    chosen = [net.axis(name) for name in names] if names else list(net.prunable)
    assert chosen
    assert all(axis.frozen is None for axis in chosen)
    return {axis.name: tuple(range(1, axis.size, 2)) or (0,) for axis in chosen}


def those(choose: Callable[[Axis], bool]) -> Callable[[Network], dict[str, Units]]:
    """Every other unit of the free axes that `choose` picks; of one at least."""

    def chosen(net: Network) -> dict[str, Units]:
        names = [axis.name for axis in net.prunable if choose(axis)]
        assert names, [axis.name for axis in net.prunable]
        return every_other(net, *names)

    return chosen


def shrink(
    model: nn.Module,
    inputs: Any,
    choose: Callable[[Network], Mapping[str, Units]] = every_other,
    *,
    dropped: tuple[str, ...] = (),
) -> Shrunk:
    """Traces, keeps every other unit (or what `choose` says), and cuts."""
    net = trace(model, inputs)
    keep = Keep(choose(net), dropped)
    return Shrunk(net, keep, cut(net, keep))


def own(shrunk: Shrunk) -> Any:
    """The cut module, which must be of the user's own class."""
    assert shrunk.cut.fallback is None, shrunk.cut.fallback
    assert type(shrunk.model) is type(shrunk.net.model)
    assert shrunk.cut.proof.passed
    return shrunk.model


def apart(found: Any, wanted: Any) -> float:
    """Largest difference between two structures of tensors over the largest element of the second."""
    ones, others = (
        [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)] for tree in (found, wanted)
    )
    assert [one.shape for one in ones] == [other.shape for other in others]
    assert ones
    largest = max(other.detach().abs().max().item() for other in others)
    worst = max((one - other).detach().abs().max().item() for one, other in zip(ones, others, strict=True))
    return worst / (largest or 1.0)


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> Any:
    """What `build` makes, in eval mode, with the same weights every time and no two of them alike."""
    torch.manual_seed(seed)
    model = build().eval()
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and (tensor == tensor.flatten()[0]).all() and tensor.numel() > 1:
                tensor.uniform_(0.5, 1.5)
    return model
