"""Optimal brain surgery on single weights, and its sweep over whole matrices (SparseGPT)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from penjing.compress.masks.rule import first_gone

DAMPING = 1e-2
"""Added to the diagonal of a layer's moments, as a share of its mean."""

BLOCK = 128
"""Features that masks are chosen for at a time."""


def inverse(moments: Tensor, damping: float = DAMPING) -> Tensor:
    """Of damped moments; damped more where rounding calls for it.

    Args:
        moments: mean products of features, float64 [features, features].
        damping: as `DAMPING`.

    Returns:
        Float64 [features, features].
    """
    level = max(float(moments.diagonal().mean()), torch.finfo(torch.float64).tiny ** 0.5)
    while True:
        damped = moments + damping * level * torch.eye(len(moments), dtype=moments.dtype)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not bool(failed):
            return torch.cholesky_inverse(factor)
        damping = max(10 * damping, 1e-12)


def saliency(matrix: Tensor, inverted: Tensor) -> Tensor:
    """What it costs to set a weight to zero if all others of its output make up for it.

    Args:
        matrix: weights, float64 [outputs, features].
        inverted: as `inverse` gives it.

    Returns:
        w[o, f]**2 / P[f, f], the mean squared error of the output, float64 [outputs, features].

    Source: Hassibi and Stork 1992 (NeurIPS 5), eq. 5, where a factor of a half belongs to their loss.
    """
    return matrix.square() / inverted.diagonal()


def removed(row: Tensor, inverted: Tensor, feature: int) -> Tensor:
    """The weights of one output without one of them: zero, and the others as they do best then.

    Args:
        row: float64 [features].
        inverted: as `inverse` gives it.
        feature: which goes.

    Source: as `saliency`.
    """
    found = row - row[feature] / inverted[feature, feature] * inverted[:, feature]
    found[feature] = 0.0
    return found


@dataclass(frozen=True)
class Goal:
    """How many weights of a matrix go.

    Attributes:
        share: of all of them; of every block of features as exactly as it can be.
        n: of every m features in a row stay, instead of that; 0 for none such.
        m: as `n`.
    """

    share: float = 0.0
    n: int = 0
    m: int = 0


def sparsegpt(
    matrix: Tensor, moments: Tensor, goal: Goal, *, damping: float = DAMPING, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Zeros in a matrix, for which the weights to the right of each make up.

    From the left to the right a mask is chosen for a block of features (or for m of them) by what single
    weights cost then; every error is made up for by the features that are still to come, which takes one
    inverse for all outputs.

    Args:
        matrix: weights, [outputs, features].
        moments: mean products of features, float64 [features, features].
        goal: how many go.
        damping: as `DAMPING`.
        block: as `BLOCK`; with n:m, the nearest multiple of m.

    Returns:
        The new weights, float64, with exact zeros, and the mask, bool; both [outputs, features].

    Source: Frantar & Alistarh 2023, arXiv:2301.00774, algorithm 1.
    """
    weight, kept = matrix.detach().double().clone(), torch.ones(matrix.shape, dtype=torch.bool)
    outputs, features = weight.shape
    upper = torch.linalg.cholesky(inverse(moments.double(), damping), upper=True)
    silent = moments.diagonal() == 0  # features that are always zero: their weights go first
    block = max(1, block // goal.m) * goal.m if goal.m else block
    gone = 0
    for start in range(0, features, block):
        end = min(start + block, features)
        if not goal.m:
            cost = _cost(weight, upper, silent, slice(start, end))
            count = round(goal.share * outputs * end) - gone
            kept[:, start:end] = first_gone(cost.flatten(), count).view(cost.shape)
            gone += count
        errors = torch.zeros(outputs, end - start, dtype=torch.float64)
        for place in range(start, end):
            if goal.m and (place - start) % goal.m == 0:
                part = slice(place, place + goal.m)
                cost = _cost(weight, upper, silent, part)
                least = cost.argsort(dim=1, stable=True)[:, : goal.m - goal.n]
                kept[:, part] = torch.ones_like(cost, dtype=torch.bool).scatter_(1, least, False)
            error = weight[:, place].masked_fill(kept[:, place], 0) / upper[place, place]
            weight[:, place:end] -= torch.outer(error, upper[place, place:end])
            errors[:, place - start] = error
        weight[:, end:] -= errors @ upper[start:end, end:]
    return weight.masked_fill_(~kept, 0), kept


def _cost(weight: Tensor, upper: Tensor, silent: Tensor, part: slice) -> Tensor:
    """What single weights cost where the features before `part` are settled."""
    cost = weight[:, part].square() / upper.diagonal()[part].square()
    return cost.masked_fill(silent[part], -1)
