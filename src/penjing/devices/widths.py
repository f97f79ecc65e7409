"""Which widths of an axis a device works in, and widths to calibrate with."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from penjing.devices.stairs import Stairs
from penjing.devices.terms import kind
from penjing.network import Network, Operator

Counts = dict[str, int]

_CHOICES = 4
"""An axis is left at least so many widths to choose from; a short one is aligned less strictly for it."""


def alignments(net: Network, stairs: Stairs) -> Counts:
    """For every axis that may be cut, the multiple that its number of units is best kept at.

    Units often stand for several channels (a head for its width), so the multiple of units is the device's
    multiple of channels divided by what the two have in common.
    """
    found = {axis.name: 1 for axis in net.axes if axis.frozen is None}
    even = dict.fromkeys(found, 1)
    sizes = {axis.name: axis.size for axis in net.axes}
    for operator in net.operators:
        for name in operator.axes:
            for channels, wanted, needed in _steps(operator, name, sizes[name], stairs):
                found[name] = math.lcm(found[name], wanted // math.gcd(wanted, channels))
                even[name] = math.lcm(even[name], needed // math.gcd(needed, channels))
    return {name: _fitting(multiple, even[name], sizes[name]) for name, multiple in found.items()}


def _steps(operator: Operator, axis: str, size: int, stairs: Stairs) -> Iterator[tuple[int, int, int]]:
    """(channels a unit, multiple wanted, multiple needed lest it be slow) where the axis meets a step."""
    if size < 2:
        return
    what = kind(operator)
    whole, less = operator.inputs_at({axis: size}), operator.inputs_at({axis: size - 1})
    fewer = [
        a - b
        for a, b in zip(
            operator.outputs_at({axis: size})[0], operator.outputs_at({axis: size - 1})[0], strict=True
        )
    ]
    if what in ("conv1d", "conv2d", "conv3d"):
        outs, ins = (a - b for a, b in zip(whole["weight"][:2], less["weight"][:2], strict=True))
        if int(operator.arguments.get("groups") or 1) > 1 and whole["weight"][1] == 1:
            yield max(1, outs), stairs.depthwise_even, stairs.depthwise_even
            yield max(1, outs), stairs.conv_out, 1
            return
        if outs:
            yield outs, stairs.conv_out, 1
        if ins:
            yield ins, stairs.conv_in, stairs.conv_even
    elif what in ("linear", "addmm", "mm") and fewer[-1]:
        yield fewer[-1], stairs.linear_out, 1


def _fitting(multiple: int, even: int, size: int) -> int:
    """`multiple`, or less of it where the axis would have too few widths left."""
    while multiple > even and multiple % 2 == 0 and size < _CHOICES * multiple:
        multiple //= 2
    return multiple if size > multiple else 1


def sample(net: Network, steps: Counts, *, networks: int, odd: bool, seed: int) -> list[Counts]:
    """Choices of widths to calibrate with: the original, then random ones from nearly all to a fifth.

    Args:
        net: the network.
        steps: axis -> multiple; the axes to vary.
        networks: how many.
        odd: make every fourth of them without regard to `steps`, to learn what that costs.
        seed: of the choice.
    """
    draw = random.Random(seed)
    chosen: list[Counts] = [{}]
    for index in range(1, networks):
        free = odd and index % 4 == 3
        level = 1.0 - 0.8 * (index - draw.random()) / max(1, networks - 1)
        counts = {
            name: _rounded(net.axis(name).size, level * draw.uniform(0.6, 1.4), 1 if free else step)
            for name, step in steps.items()
        }
        for group in net.balanced:
            counts |= {name: counts[group[0]] for name in group if name in counts and group[0] in counts}
        chosen.append(counts)
    return chosen


def _rounded(size: int, share: float, step: int) -> int:
    return max(min(step, size), min(size, round(size * min(share, 1.0) / step) * step))
