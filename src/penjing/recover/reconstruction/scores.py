"""Attention scores of a smaller query-key width: the nearest there are, head by head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """The weights of both projections, head by head; a bias is a last column.

    Attributes:
        query: float64 [heads, width, features].
        key: likewise.
    """

    query: Tensor
    key: Tensor


@dataclass(frozen=True)
class Seen:
    """Second moments of what both projections read, in both networks.

    Attributes:
        query: of the cut network's features, the original's behind them, float64 [f, f]; about zero.
        key: likewise; about the mean where the scores are centred.
        of_cut: how many of the features are the cut network's, for queries and for keys.
    """

    query: Tensor
    key: Tensor
    of_cut: tuple[int, int]

    def parts(self) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        """For queries and for keys: of the cut network, between both, and of the original."""
        sides = zip((self.query, self.key), self.of_cut, strict=True)
        return tuple((whole[:n, :n], whole[:n, n:], whole[n:, n:]) for whole, n in sides)


def error(original: Heads, heads: Heads, seen: Seen) -> float:
    """Mean squared difference of the scores, queries and keys drawn apart from one another, all heads."""
    (qq, qo, oo), (kk, ko, pp) = seen.parts()
    own = (heads.query @ qq @ heads.query.mT) * (heads.key @ kk @ heads.key.mT)
    both = (heads.query @ qo @ original.query.mT) * (heads.key @ ko @ original.key.mT)
    aim = (original.query @ oo @ original.query.mT) * (original.key @ pp @ original.key.mT)
    return float(own.sum() - 2 * both.sum() + aim.sum())


def best(original: Heads, width: int, seen: Seen, ridge: float) -> Heads:
    """The `width` queries and keys of each head whose products are nearest to the original's.

    A head is a bilinear form; with features whitened, the nearest of each rank has its largest singular
    values (Eckart and Young 1936, Psychometrika 1(3)). Queries and keys are taken as drawn apart from one
    another.

    Args:
        original: of the kept heads, at full width.
        width: to keep.
        seen: on which inputs.
        ridge: added to the moments, as a share of their mean diagonal.
    """
    (qq, qo, _), (kk, ko, _) = seen.parts()
    roots = [torch.linalg.cholesky(_damped(moments, ridge)) for moments in (qq, kk)]
    sides = [
        torch.linalg.solve_triangular(root, cross @ weight.mT, upper=False)
        for root, cross, weight in zip(roots, (qo, ko), (original.query, original.key), strict=True)
    ]
    bases, triangles = zip(*(torch.linalg.qr(side) for side in sides), strict=True)
    left, values, right = torch.linalg.svd(triangles[0] @ triangles[1].mT)
    scale = values[:, None, :width].sqrt()
    found = [
        torch.linalg.solve_triangular(root.mT, (base @ turned[..., :width]) * scale, upper=True).mT
        for root, base, turned in zip(roots, bases, (left, right.mT), strict=True)
    ]
    return Heads(*found)


def _damped(moments: Tensor, ridge: float) -> Tensor:
    level = moments.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
    return moments + ridge * level * torch.eye(len(moments), dtype=moments.dtype)
