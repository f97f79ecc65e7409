"""Ridge regression of what is missing in an output on what an operator reads, by streamed Gram matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from penjing import processes

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths to choose from, as shares of the mean variance of a feature."""

_LEAST_SHARE = 1e-8
"""Of the variance in the liveliest group: one that varies by less is dampened as if it varied by that."""


class Moments:
    """Sums over rows of features x [g, rows, f] and of residuals r [g, rows, o], and of their products.

    Rows are shifted by the first mean seen, so that sums of squares lose no digits to a large mean.
    """

    def __init__(self) -> None:
        """Nothing seen."""
        self.rows = 0
        self._sums: dict[str, Tensor] = {}

    def begin(self, shifts: tuple[Tensor, Tensor]) -> None:
        """Takes the means [g, 1, f] and [g, 1, o] that rows are shifted by."""
        self.shift_x, self.shift_r = map(wide, shifts)
        groups, (features, outputs) = len(self.shift_x), (shift.shape[-1] for shift in shifts)
        shapes = {
            "x": (groups, features), "r": (groups, outputs), "xx": (groups, features, features),
            "rx": (groups, outputs, features), "rr": (groups, outputs),
        }  # fmt: skip
        self._sums = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def share(self, *names: str) -> None:
        """Adds what other processes have seen, shifted alike: everything, or the sums that are named."""
        if not names:
            rows = torch.tensor([self.rows], dtype=torch.float64)
            processes.sum_([rows])
            self.rows = int(rows)
        processes.sum_([self._sums[name] for name in names or self._sums])

    def add(self, features: Tensor, residuals: Tensor) -> None:
        """Adds rows; by default they are shifted by the first means."""
        if not self._sums:
            self.begin((features.mean(1, keepdim=True), residuals.mean(1, keepdim=True)))
        x, r = wide(features) - self.shift_x, wide(residuals) - self.shift_r
        seen = {
            "x": x.sum(1, dtype=torch.float64),
            "r": r.sum(1, dtype=torch.float64),
            "xx": (x.mT @ x).double(),
            "rx": (r.mT @ x).double(),
            "rr": r.square().sum(1, dtype=torch.float64),
        }
        for name, value in seen.items():
            self._sums[name] += value
        self.rows += features.shape[1]

    def renewed(self) -> Moments:
        """The same features with residuals yet to come, through `again`: enough for `fit_with`."""
        new = Moments()
        new.rows, new.shift_x, new.shift_r = self.rows, self.shift_x, self.shift_r
        zeros = {name: torch.zeros_like(self._sums[name]) for name in ("r", "rx")}
        new._sums = {**self._sums, **zeros}
        return new

    def again(self, features: Tensor, residuals: Tensor) -> None:
        """Adds other residuals of rows whose features are counted already; their squares are not."""
        r = wide(residuals) - self.shift_r
        self._sums["r"] += r.sum(1, dtype=torch.float64)
        self._sums["rx"] += (r.mT @ (wide(features) - self.shift_x)).double()

    def merged(self, other: Moments) -> Moments:
        """Of the rows of both, which have the same shifts."""
        both = Moments()
        both.rows = self.rows + other.rows
        both.shift_x, both.shift_r = self.shift_x, self.shift_r
        both._sums = {name: value + other._sums[name] for name, value in self._sums.items()}
        return both

    @property
    def mean_x(self) -> Tensor:
        """Mean features, float64 [g, f]."""
        return self._sums["x"] / self.rows + self.shift_x[:, 0]

    @property
    def mean_r(self) -> Tensor:
        """Mean residuals, float64 [g, o]."""
        return self._sums["r"] / self.rows + self.shift_r[:, 0]

    def centred(self) -> tuple[Tensor, Tensor, Tensor]:
        """Covariances [g, f, f] of features, [g, o, f] with residuals, and variances [g, o] of residuals."""
        x, r = self._sums["x"] / self.rows, self._sums["r"] / self.rows
        return (
            self._sums["xx"] / self.rows - x[:, :, None] * x[:, None, :],
            self._sums["rx"] / self.rows - r[:, :, None] * x[:, None, :],
            self._sums["rr"] / self.rows - r.square(),
        )

    def raw(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same about zero instead of the means."""
        xx, rx, rr = self.centred()
        x, r = self.mean_x, self.mean_r
        return xx + x[:, :, None] * x[:, None, :], rx + r[:, :, None] * x[:, None, :], rr + r.square()


def wide(tensor: Tensor) -> Tensor:
    """At least float32: squares of half precision overflow."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


@dataclass(frozen=True)
class Fit:
    """A change of weights that brings an output nearer to its target.

    Attributes:
        change: of the weight, float64 [g, o, f].
        offset: what is to be added to every output, float64 [g, o].
        ridge: the strength that was chosen; None where no change helps on held-out samples, infinite where
            an offset alone does.
        gain: share of the held-out squared residual that the change removes.
    """

    change: Tensor
    offset: Tensor
    ridge: float | None
    gain: float


def fit(
    halves: Sequence[Moments], *, offset: bool, strict: bool = False, ridges: Sequence[float] = RIDGES
) -> Fit:
    """The change `d`, `c` that minimises `|r - d x - c|^2 + ridge * mean variance * |d|^2` over all rows.

    The ridge keeps weights near those that training found. Its strength is the one that does best on the half
    of the samples that the other half did not see, in both directions. With fewer samples than weights, or
    samples that tell nothing, that is a strong one, or no change at all.

    Args:
        halves: moments of two disjoint sets of samples, shifted alike; or of one, which is then judged by
            itself and takes the strongest ridge.
        offset: whether a constant may be added; else the regression goes through zero.
        strict: whether the constant, too, is left out where it does not help on held-out samples. It is one
            number for an output, and half of the samples say less of it than all do.
        ridges: strengths to try.

    Source: Hoerl and Kennard 1970, Technometrics 12(1), about the trained weights instead of zero.
    """
    used = [half for half in halves if half.rows]
    whole = used[0] if len(used) == 1 else used[0].merged(used[1])
    alone: tuple[float | None, float] = (max(ridges), 0.0)
    chosen, gain = alone if len(used) == 1 else _chosen(used, ridges, offset=offset, strict=strict)
    if chosen is None and strict:
        return Fit(torch.zeros_like(whole.raw()[1]), torch.zeros_like(whole.mean_r), None, 0.0)
    return fit_with(whole, chosen, gain, offset=offset)


def fit_with(whole: Moments, ridge: float | None, gain: float, *, offset: bool) -> Fit:
    """The change for a ridge that was chosen already; a constant alone where there is none."""
    change, constant = _fitted(whole, [math.inf if ridge is None else ridge], offset=offset)[0]
    return Fit(change, constant, ridge, gain)


def _chosen(
    halves: Sequence[Moments], ridges: Sequence[float], *, offset: bool, strict: bool
) -> tuple[float | None, float]:
    """The ridge of the smallest held-out squared residual, and the share that it removes."""
    tried = [*ridges, math.inf] if offset and strict else ridges
    left = torch.zeros(len(tried), dtype=torch.float64)
    before = 0.0
    for seen, unseen in (halves, halves[::-1]):
        xx, rx, rr = unseen.centred() if offset else unseen.raw()
        before += float((unseen.raw()[2] if strict else rr).sum())
        for place, (change, constant) in enumerate(_fitted(seen, tried, offset=offset)):
            product = change @ xx
            squares = rr.sum() - 2 * (change * rx).sum() + (product * change).sum()
            if strict and offset:
                about = unseen.mean_r - (change @ unseen.mean_x[..., None])[..., 0] - constant
                squares = squares + about.square().sum()
            left[place] += float(squares)
    best = int(left.argmin())
    if not before or not left[best] < before:
        return None, 0.0
    return tried[best], 1 - float(left[best]) / before


def _fitted(moments: Moments, ridges: Sequence[float], *, offset: bool) -> list[tuple[Tensor, Tensor]]:
    """Change and constant for every ridge."""
    xx, rx, _ = moments.centred() if offset else moments.raw()
    none = torch.zeros_like(moments.mean_r)
    return [
        (change, moments.mean_r - (change @ moments.mean_x[..., None])[..., 0] if offset else none)
        for change in _solved(xx, rx, ridges)
    ]


def _solved(xx: Tensor, rx: Tensor, ridges: Sequence[float]) -> list[Tensor]:
    """`rx (xx + ridge * mean diagonal)^-1` for every ridge."""
    diagonal = xx.diagonal(dim1=-2, dim2=-1)
    scale = diagonal.mean(-1, keepdim=True)
    scale = scale.clamp_min(max(torch.finfo(torch.float64).tiny, _LEAST_SHARE * float(scale.max())))
    found = []
    for ridge in ridges:
        if ridge == math.inf:
            found.append(torch.zeros_like(rx))
            continue
        damped = xx + torch.diag_embed((ridge * scale).expand_as(diagonal))
        factor, failed = torch.linalg.cholesky_ex(damped)
        if bool(failed.any()):
            found.append(torch.zeros_like(rx))
            continue
        found.append(torch.cholesky_solve(rx.mT, factor).mT)
    return found
