"""How far features of a cut model are from those of the original, whose widths are larger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.op import Dims
from penjing.plan import Plan
from penjing.recover.features import Features
from penjing.surgery.selection import Selection, take

FeatureLoss = Literal["similarity", "attention", "units"]
Kept = Mapping[int, list[int]]


def similarity(mine: Tensor, theirs: Tensor, kept: Kept | None = None) -> Tensor:
    """|| G / |G| - H / |H| ||^2 / n^2 of the samples' similarities G = Q Q', rows normalised.

    Args:
        mine: [n, ...] of the cut model; Q is its samples as rows. n = 1 tells nothing.
        theirs: [n, ...] of the original.
        kept: not looked at.

    Source: Tung, Mori 2019, arXiv:1907.09682, eq. 2 to 4.
    """
    g, h = (F.normalize(q @ q.T, dim=1) for q in (mine.flatten(1), theirs.flatten(1)))
    return (g - h).square().sum() / mine.shape[0] ** 2


def attention(mine: Tensor, theirs: Tensor, kept: Kept | None = None) -> Tensor:
    """|| A / |A| - B / |B| ||^2 of the maps A = sum of squares over channels, mean over samples.

    Args:
        mine: [n, c, ...] or [n, t, c]; channels are where sizes differ from those of the original, else the
            second dimension of four and more, and the last of three.
        theirs: likewise.
        kept: not looked at.

    Raises:
        PenjingError: PJ317, there is nothing but samples and channels.

    Source: Zagoruyko, Komodakis 2017, arXiv:1612.03928, eq. 2, with the square of the distance.
    """
    if mine.ndim < 3:
        raise PenjingError(
            "PJ317",
            "features cannot be compared by attention",
            because=f"one is of shape {tuple(mine.shape)}: samples and channels, and no places to attend to",
            tries=['feature_loss="similarity"', "features=[names of modules with maps or sequences]"],
        )
    differ = [d for d in range(1, mine.ndim) if mine.shape[d] != theirs.shape[d]]
    channels = differ[0] if differ else 1 if mine.ndim > 3 else -1
    a, b = (F.normalize(x.square().sum(channels).flatten(1), dim=1) for x in (mine, theirs))
    return (a - b).square().sum(1).mean()


def units(mine: Tensor, theirs: Tensor, kept: Kept | None = None) -> Tensor:
    """Mean square of the difference over the kept units, over the original's mean square there."""
    aim = take(theirs, kept or {})
    return F.mse_loss(mine, aim) / aim.square().mean().clamp_min(torch.finfo(aim.dtype).tiny)


DISTANCES: Final[Mapping[str, Callable[[Tensor, Tensor, Kept | None], Tensor]]] = {
    "similarity": similarity,
    "attention": attention,
    "units": units,
}


def feature_loss(mine: Features, theirs: Features, how: FeatureLoss, kept: Mapping[str, Kept]) -> Tensor:
    """The mean distance over all features that both models give, in float32 or wider.

    Raises:
        PenjingError: PJ317, there are none, or they cannot be compared so.
    """
    found = []
    for name, feature in mine.items():
        if name not in theirs:
            continue
        one, other = feature.float(), theirs[name].float()
        selected = kept.get(name, {}) if how == "units" else {}
        if how == "units":
            sizes = [len(selected.get(place, range(size))) for place, size in enumerate(other.shape)]
            alike = list(one.shape) == sizes
        else:
            sizes, alike = list(other.shape), one.shape[:1] == other.shape[:1] and one.ndim == other.ndim
        if not alike:
            raise PenjingError(
                "PJ317",
                f"the outputs of `{name}` cannot be compared with those of the original",
                because=f"they are {tuple(one.shape)}, where {tuple(sizes)} is expected",
                tries=['feature_loss="similarity"', "features=[other names]"],
            )
        found.append(DISTANCES[how](one, other, selected))
    if not found:
        raise PenjingError(
            "PJ317",
            "no features of the cut model can be compared with the original's",
            because="it has no modules of these names that run",
            tries=["feature_weight=0"],
        )
    return torch.stack(found).mean()


def kept_units(net: Network | None, plan: Plan | None, names: list[str]) -> dict[str, Kept]:
    """Module -> place of a dimension of its output -> the indices that were kept.

    Raises:
        PenjingError: PJ317, nobody knows: the cut was made elsewhere.
    """
    if net is None or plan is None:
        raise PenjingError(
            "PJ317",
            'features cannot be compared by "units"',
            because="it is not known which units were kept: the step is not part of a run of penjing",
            tries=['feature_loss="similarity"'],
        )
    selection = Selection(net, plan.kept, plan.dropped)
    found = {name: dims for name in names if (dims := _output(net, name)) is not None}
    return {name: selection.kept_of(dims) for name, dims in found.items()}


def _output(net: Network, module: str) -> Dims | None:
    """Dimensions of what a module gives: those of the last tensor that is made within it."""
    found: Dims | None = None
    for node in net.trace.graph.nodes:
        value = net.solution.values.get(node)
        within = (entry[0] for entry in (node.meta.get("nn_module_stack") or {}).values())
        if isinstance(value, tuple) and any(_path(path) == module for path in within):
            found = value
    return found


def _path(recorded: object) -> str:
    return str(recorded).removeprefix("L['self']").lstrip(".")
