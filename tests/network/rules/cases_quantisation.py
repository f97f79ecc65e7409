"""Operators that round to the steps of a scale."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.network.rules.case import case, positive


def _zeros(scale: Tensor) -> Tensor:
    return torch.zeros_like(scale, dtype=torch.int32)


CASES = (
    case(
        "fake_quantize_per_channel_affine",
        lambda x, s: torch.fake_quantize_per_channel_affine(x, s.float(), _zeros(s), 1, -8, 7),
        (2, 4, 3),
        positive(4),
    ),
    case(
        "_fake_quantize_learnable_per_channel_affine",
        lambda x, s: torch._fake_quantize_learnable_per_channel_affine(
            x.float(), s.float(), torch.zeros_like(s).float(), 0, -8, 7, 1.0
        ),
        (4, 3),
        positive(4),
    ),
    case(
        "fake_quantize_per_tensor_affine",
        lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -8, 7),
        (2, 3),
    ),
    case(
        "_fake_quantize_learnable_per_tensor_affine",
        lambda x, s: torch._fake_quantize_learnable_per_tensor_affine(
            x.float(), s.float(), torch.zeros_like(s).float(), -8, 7, 1.0
        ),
        (2, 3),
        positive(1),
    ),
)
