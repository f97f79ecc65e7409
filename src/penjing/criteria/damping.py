"""How far a Gram matrix can be trusted: damping and error as samples tell that it was not made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

LEAST: Final = 1e-2
"""Damping where there is no need for more: a share of the mean variance of a feature."""

DAMPINGS: Final = (LEAST, 3e-2, 1e-1, 3e-1, 1.0)
"""To choose from."""

MOST_FEATURES: Final = 4096
"""With more, decompositions take too long, and the least is taken."""


def held_out(halves: Sequence[Tensor], squares: Tensor) -> tuple[float, float]:
    """The damping that does best on samples that a covariance was not made of, and what it misses there.

    With a feature taken out, the others make up for it as the damped inverse covariance of one half of the
    samples says: it leaves `1 / P_jj` of it there, and `(P S P)_jj / P_jj^2` on the other half, whose
    covariance is `S`. With fewer samples than features the first says next to nothing is lost.

    Args:
        halves: covariances of two disjoint sets of samples, float64 [groups, features, features].
        squares: what a unit of squared error in each feature costs, float64 [groups, features].

    Returns:
        The damping, as a share of the mean variance, and what errors are on samples that were held out, as a
        factor of what the damped covariance has them to be: more where samples are few, less where the
        damping itself counts as error.

    Source: leave-one-out residuals from the inverse covariance as in Hassibi and Stork 1992 (NeurIPS 5), eq.
    4; the damping by two-fold cross-validation, Stone 1974, J. R. Stat. Soc. B 36(2).
    """
    if squares.shape[-1] > MOST_FEATURES or not bool(squares.any()):
        return LEAST, 1.0
    size = max(float(half.diagonal(dim1=-2, dim2=-1).mean()) for half in halves)
    if not size > 0:
        return LEAST, 1.0
    halves = [(half / size).float() for half in halves]
    outside, inside = (torch.zeros(len(DAMPINGS), dtype=torch.float64) for _ in range(2))
    for seen, unseen in (halves, halves[::-1]):
        values, vectors = torch.linalg.eigh(seen)
        level = values.clamp_min(0).mean(-1, keepdim=True)
        between = vectors.mT @ unseen @ vectors
        for place, damping in enumerate(DAMPINGS):
            damped = (values.clamp_min(0) + damping * level).clamp_min(torch.finfo(torch.float32).tiny)
            scaled = vectors / damped[..., None, :]
            inverse = (scaled * vectors).sum(-1)
            left = ((scaled @ between) * scaled).sum(-1) / inverse.square()
            outside[place] += (squares * left.double()).sum()
            inside[place] += (squares / inverse.double()).sum()
    best = int(outside.argmin())
    known = bool(outside[best] > 0) and bool(inside[best] > 0)
    return DAMPINGS[best], float(outside[best] / inside[best]) if known else 1.0
