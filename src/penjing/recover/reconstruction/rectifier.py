"""Layers in front of a rectifier: what it cuts off anyway need not be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from penjing.recover.reconstruction.regression import Fit, Moments, fit_with

ROUNDS = 5
"""Of solving again with other aims; each brings what comes out of the rectifier nearer."""

_LEAST = 1e-3
"""Of the mean scale: a channel scaled by less is taken as if no rectifier came."""


@dataclass(frozen=True)
class Range:
    """The rectifier behind an output, on some rows.

    Attributes:
        output: as it is now, [groups, rows, outputs].
        before: what then reaches the rectifier, likewise.
        scale: by how much that grows with the output, [groups, 1, outputs].
        ceiling: above which the rectifier is flat, as it is below zero.
    """

    output: Tensor
    before: Tensor
    scale: Tensor
    ceiling: float


@dataclass(frozen=True)
class Rows:
    """Positions of one batch, as a layer sees them.

    Attributes:
        features: what it reads, [groups, rows, features].
        lacking: what its output lacks, [groups, rows, outputs].
        half: of the samples to which each row belongs, 0 or 1, [rows].
        range: of the rectifier behind it; None if there is none.
        counts: whether they are looked at here; else another process does.
    """

    features: Tensor
    lacking: Tensor
    half: Tensor
    range: Range | None
    counts: bool = True


def rectified(
    seen: Sequence[Rows] | None,
    halves: Sequence[Moments],
    found: Fit,
    *,
    offset: bool,
    rounds: int = ROUNDS,
    shared: bool = False,
) -> Fit:
    """A fit that is best behind the rectifier instead of before it.

    Where the original is cut off, any output that is cut off too is as good, and only what sticks out is
    counted; elsewhere the distance from the original is, in front of the rectifier. That is convex, and no
    less than the distance behind the rectifier. Given an output, its aim is the nearest value of which
    nothing is counted; solving for these aims lowers the whole, round by round.

    Args:
        seen: the rows, of several processes those of this one; None where there is no rectifier.
        halves: their moments, of all processes.
        found: the fit before the rectifier.
        offset: whether a constant may be added.
        rounds: at most.
        shared: whether other processes have other rows.

    Source: responses after the nonlinearity as in Zhang, Zou, He and Sun 2015, arXiv:1505.06798, section
    2.3; here by majorisation, with aims in the place of auxiliary variables.
    """
    if found.ridge is None or seen is None:
        return found
    used = [half for half in halves if half.rows]
    base = used[0] if len(used) == 1 else used[0].merged(used[1])
    bounds = [_bounds(rows) for rows in seen]
    for _ in range(rounds):
        new = base.renewed()
        for rows, (least, most) in zip(seen, bounds, strict=True):
            kind = rows.lacking.dtype
            added = rows.features @ found.change.to(kind).mT
            added += found.offset.to(kind)[:, None]
            new.again(rows.features, torch.clamp(added, least, most, out=added))
        if shared:
            new.share("r", "rx")
        found = fit_with(new, found.ridge, found.gain, offset=offset)
    return found


def _bounds(rows: Rows) -> tuple[Tensor, Tensor]:
    """Between what, added to the present output, nothing is counted: the aim is the nearest such value."""
    assert rows.range is not None
    scale, before, top = rows.range.scale, rows.range.before, rows.range.ceiling
    aim = before + scale * rows.lacking
    below, above = aim <= 0, aim >= top
    least = torch.where(below, -torch.inf, torch.where(above, top, aim))
    most = torch.where(below, 0.0, torch.where(above, torch.inf, aim))
    weak = scale.abs() <= _LEAST * scale.abs().mean()
    size = torch.where(weak, 1.0, scale)
    ends = [torch.where(weak, rows.lacking, (end - before) / size) for end in (least, most)]
    return torch.minimum(*ends), torch.maximum(*ends)
