"""Layers and models that hold zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sparse_matrix(rows: int, columns: int, share: float, *, block: int = 1, seed: int = 0) -> Tensor:
    """Random numbers in about `share` of the blocks, zeros in the others."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(-(-rows // block), -(-columns // block), generator=generator) < share
    mask = mask.repeat_interleave(block, 0).repeat_interleave(block, 1)[:rows, :columns]
    return torch.randn(rows, columns, generator=generator) * mask


def emptied(layer: nn.Module, share: float) -> nn.Module:
    """With so many of its weights set to zero."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    generator = torch.Generator().manual_seed(0)
    weight.data *= (torch.rand(weight.shape, generator=generator) >= share).float()
    return layer
