"""Grouped matrix products in float64, for which torch has no kernel: one product a group."""

from __future__ import annotations

from itertools import pairwise

import torch


def grouped_mm(
    x: torch.Tensor,
    w: torch.Tensor,
    offs: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """`aten._grouped_mm` by its definition.

    Args:
        x: rows [s, i] or, for every group, [g, n, i].
        w: columns [i, s] or, for every group, [g, i, o].
        offs: where each group ends along s; None where both have g.
        bias: added to the product.
        out_dtype: of the result; that of x by default.
    """
    y = x @ w if offs is None else _segments(x, w, offs.tolist())
    y = y if bias is None else y + bias
    return y.to(out_dtype or x.dtype)


def _segments(x: torch.Tensor, w: torch.Tensor, ends: list[int]) -> torch.Tensor:
    spans = [slice(start, end) for start, end in pairwise([0, *ends])]
    if x.ndim == w.ndim == 2:
        return torch.stack([x[:, span] @ w[span] for span in spans])
    if x.ndim == 2:
        parts = [x[span] @ w[group] for group, span in enumerate(spans)]
        return torch.cat([*parts, x.new_zeros(x.shape[0] - ends[-1], w.shape[-1])])
    parts = [x[group] @ w[:, span] for group, span in enumerate(spans)]
    return torch.cat([*parts, x.new_zeros(x.shape[1], w.shape[1] - ends[-1])], 1)
