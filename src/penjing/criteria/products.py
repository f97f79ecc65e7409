"""What widths of queries and keys are worth: their products, head by head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from penjing.criteria.grams import Reading
from penjing.network import Axis
from penjing.network.pairs import Pair, by_head


def energies(axis: Axis, pair: Pair, readings: Mapping[str, Reading], bias: Tensor | None) -> Tensor | None:
    """What each further unit of width adds to the squared scores, if the others make the best of theirs.

    Squared singular values of every head's form over queries and keys that are taken as drawn apart from one
    another, the largest first, all heads together: what is left of them beyond a width is the error of the
    nearest scores of that width.

    Args:
        axis: of the width.
        pair: of the projections.
        readings: by parameter.
        bias: of queries; None for none.

    Returns:
        float64 [size], decreasing; None where units do not stand for one index of each head.

    Source: Eckart and Young 1936, Psychometrika 1(3).
    """
    sides = []
    for one, constant in ((pair.query, bias), (pair.key, None)):
        reading = readings[one.weight]
        rows = by_head(axis, one)
        if rows is None:
            return None
        weight = reading.matrix[0].double()
        moments = reading.covariance[0]
        if one is pair.query or not pair.centred:
            mean = (reading.x.sum(0) / reading.rows + reading.shift[:, 0])[0].double()
            moments = moments + torch.outer(mean, mean)
            if constant is not None:
                row = torch.cat([mean, mean.new_ones(1)])
                moments = torch.cat([torch.cat([moments, mean[:, None]], 1), row[None]])
                weight = torch.cat([weight, constant.double()[:, None]], 1)
        values, vectors = torch.linalg.eigh(moments)
        root = vectors * values.clamp_min(0).sqrt()
        sides.append(torch.linalg.qr(root.mT @ weight[rows].mT)[1])
    if len(sides[0]) != len(sides[1]):
        return None
    found: Tensor = torch.linalg.svdvals(sides[0] @ sides[1].mT).square().sum(0)
    return found
