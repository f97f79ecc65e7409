"""What becomes of an operator's output: the batch norm behind it, and the residual sums it ends in."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from penjing.network.arguments import bind, operator_name
from penjing.network.replay import Replay
from penjing.recover.reconstruction.lockstep import Lockstep

_SAME = frozenset(
    {"aten.dropout", "aten.feature_dropout", "aten.clone", "aten.contiguous", "aten.alias", "aten.detach"}
)
_LEAST = 1e-3
"""Of the mean scale: channels that are scaled by less cannot mend anything."""


@dataclass
class Chain:
    """The way of an output through operators that scale its channels, up to sums with what is known already.

    Attributes:
        norm: the batch norm that comes first; None if there is none.
        sums: what is added on the way, and the factor that every channel of the output has there.
        scale: the factor at the end, float64 [channels].
        shift: what has been added to every channel by then, sums aside, float64 [channels].
        ceiling: where a rectifier comes next, above which value it is flat (infinite for none); else None.
    """

    scale: Tensor
    shift: Tensor
    norm: fx.Node | None = None
    sums: list[tuple[fx.Node, fx.Node, Tensor]] = field(default_factory=list)
    ceiling: float | None = None


def chain(
    node: fx.Node, known: Collection[fx.Node], tensor: Callable[[fx.Node], Tensor | None], channels: int
) -> Chain:
    """Follows the only reader of `node`, and its only reader, and so on.

    Args:
        node: an operator.
        known: operators whose values stand already.
        tensor: placeholder of a parameter or buffer -> its value in the cut network; None for others.
        channels: of the output.
    """
    found, here = Chain(torch.ones(channels).double(), torch.zeros(channels).double()), node
    while len(here.users) == 1:
        reader = next(iter(here.users))
        if reader.op != "call_function":
            break
        name = operator_name(reader.target)
        if name == "aten.batch_norm" and reader.args[0] is here and not bind(reader)["training"]:
            if here is node:
                found.norm = reader
            _through_norm(found, reader, tensor)
        elif name == "aten.add" and (other := _added(reader, here)) is not None:
            if other not in known:
                break
            found.sums.append((reader, other, found.scale))
        elif name == "aten.mul" and (factor := _factor(reader, here, tensor, channels)) is not None:
            found.scale, found.shift = found.scale * factor, found.shift * factor
        elif name not in _SAME or reader.args[0] is not here:
            found.ceiling = _ceiling(reader, name)
            break
        here = reader
    return found


def _through_norm(found: Chain, node: fx.Node, tensor: Callable[[fx.Node], Tensor | None]) -> None:
    arguments = bind(node)
    scale, mean = norm_scale(node, tensor), tensor(arguments["running_mean"])
    shift = None if arguments["bias"] is None else tensor(arguments["bias"])
    assert mean is not None
    found.shift = (found.shift - mean.double()) * scale + (0.0 if shift is None else shift.double())
    found.scale = found.scale * scale


def _ceiling(reader: fx.Node, name: str) -> float | None:
    """Of a rectifier, beyond which it is flat; None for other operators."""
    if name == "aten.relu":
        return math.inf
    if name == "aten.relu6":
        return 6.0
    if name == "aten.hardtanh" and bind(reader)["min_val"] == 0:
        return float(bind(reader)["max_val"])
    return None


def norm_scale(node: fx.Node, tensor: Callable[[fx.Node], Tensor | None]) -> Tensor:
    """What a batch norm in eval mode multiplies each channel by, float64 [channels]."""
    arguments = bind(node)
    variance = tensor(arguments["running_var"])
    weight = None if arguments["weight"] is None else tensor(arguments["weight"])
    assert variance is not None
    scale = (variance.double() + float(arguments["eps"])).rsqrt()
    return scale if weight is None else scale * weight.double()


def lacking(step: Lockstep, node: fx.Node, way: Chain, channel: int, whole: Replay, cut: Replay) -> Tensor:
    """What an output lacks for the sums that it goes into to be those of the original.

    Args:
        step: both networks.
        node: the operator whose output it is.
        way: from there.
        channel: the dimension of channels.
        whole: a run of the original.
        cut: that of the cut network on the same batch.
    """
    found: Tensor = step.kept(whole.values[node], node) - cut.values[node]
    for total, other, scale in way.sums:
        found = found + missing(step.kept(whole.read(other), total), cut.read(other), scale, channel)
    return found


def missing(whole: Tensor, cut: Tensor, scale: Tensor, channel: int) -> Tensor:
    """What an output must bring besides its own so that a sum comes out as in the original.

    Args:
        whole: the other summand in the original, at kept indices.
        cut: the same in the cut network.
        scale: what the output's channels are multiplied by before the sum, [channels].
        channel: the dimension of channels.
    """
    size = scale.abs()
    weak = size <= _LEAST * size.mean()
    factor = torch.where(weak, 0.0, 1 / torch.where(weak, 1.0, scale)).to(whole.dtype)
    shape = [1] * whole.ndim
    shape[channel] = -1
    return (whole - cut) * factor.view(shape)


def _added(reader: fx.Node, here: fx.Node) -> fx.Node | None:
    """The other summand, if it is of the same shape and neither is multiplied."""
    arguments = bind(reader)
    both = [arguments["self"], arguments["other"]]
    if here not in both or arguments.get("alpha", 1) != 1 or both[0] is both[1]:
        return None
    other = both[1] if both[0] is here else both[0]
    if not isinstance(other, fx.Node) or other.meta["val"].shape != here.meta["val"].shape:
        return None
    return other


def _factor(
    reader: fx.Node, here: fx.Node, tensor: Callable[[fx.Node], Tensor | None], channels: int
) -> Tensor | None:
    """A parameter that scales every channel (layer scale)."""
    both = reader.args[:2]
    other = both[1] if both[0] is here else both[0]
    value = tensor(other) if isinstance(other, fx.Node) and other.op == "placeholder" else None
    return value.double().flatten() if value is not None and value.numel() == channels else None
