"""How far values are from what they should be, as something that can be minimised."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gap(found: Sequence[Tensor], aims: Sequence[Tensor]) -> Tensor:
    """Mean squared difference over the spread of the aim about its mean over the batch; averaged over aims.

    Args:
        found: real tensors.
        aims: the same number of them, of the same shapes.
    """
    terms = []
    for mine, aim in zip(found, aims, strict=True):
        about = aim.mean(0, keepdim=True) if aim.ndim and len(aim) > 1 else torch.zeros_like(aim)
        spread = (aim - about).square().mean().clamp_min(torch.finfo(aim.dtype).tiny)
        terms.append((mine.to(aim.dtype) - aim).square().mean() / spread)
    return torch.stack(terms).mean()
