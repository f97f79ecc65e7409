"""Masked forms of operators that normalise: at full size, with entries that are gone left out of every count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tests.network.rules.case import Masked

Tensors = Sequence[torch.Tensor]


def filled(function: Callable[..., Any], value: float) -> Masked:
    """The function itself, with the value that has no influence on it where entries are gone."""

    def masked(tensors: Tensors, masks: Tensors) -> Any:
        return function(*(one.masked_fill(~mask, value) for one, mask in zip(tensors, masks, strict=True)))

    return masked


def mean(dims: Sequence[int], keepdim: bool = False) -> Masked:
    """Sum over count."""

    def masked(tensors: Tensors, masks: Tensors) -> torch.Tensor:
        (x,), (mask,) = tensors, masks
        return (x * mask).sum(dims, keepdim) / mask.sum(dims, keepdim)

    return masked


def moments(x: torch.Tensor, mask: torch.Tensor, dims: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of what is left, dimensions kept."""
    count = mask.sum(dims, keepdim=True)
    middle = (x * mask).sum(dims, keepdim=True) / count
    return middle, ((x - middle).square() * mask).sum(dims, keepdim=True) / count


def variance(dims: Sequence[int], correction: int, root: bool = False) -> Masked:
    """Squares over count less correction."""

    def masked(tensors: Tensors, masks: Tensors) -> torch.Tensor:
        (x,), (mask,) = tensors, masks
        count = mask.sum(dims)
        found = moments(x, mask, dims)[1].squeeze(dims) * count / (count - correction).clamp(min=0)
        return found.sqrt() if root else found

    return masked


def standardised(dims: Sequence[int], eps: float = 1e-5) -> Masked:
    """(x - mean) / sqrt(variance + eps) * weight + bias, both laid over the last dimensions."""

    def masked(tensors: Tensors, masks: Tensors) -> torch.Tensor:
        x, *affine = tensors
        middle, spread = moments(x, masks[0], dims)
        y = (x - middle) / (spread + eps).sqrt()
        return y * affine[0] + affine[1] if affine else y

    return masked


def root_mean_square(dims: Sequence[int], eps: float) -> Masked:
    """x / sqrt(mean of squares + eps) * weight."""

    def masked(tensors: Tensors, masks: Tensors) -> torch.Tensor:
        x, *weight = tensors
        mask = masks[0]
        size = (x.square() * mask).sum(dims, keepdim=True) / mask.sum(dims, keepdim=True)
        y = x / (size + eps).sqrt()
        return y * weight[0] if weight else y

    return masked


def per_group(groups: int, eps: float = 1e-5, statistics: bool = False) -> Masked:
    """Group normalisation: groups of consecutive channels, each over what is left of its channels and positions."""

    def masked(tensors: Tensors, masks: Tensors) -> Any:
        x, *affine = tensors
        batch, channels, *space = x.shape
        apart = (batch, groups, channels // groups, *space)
        dims = list(range(2, len(apart)))
        middle, spread = moments(x.view(apart), masks[0].view(apart), dims)
        scale = (spread + eps).rsqrt()
        y = ((x.view(apart) - middle) * scale).view(x.shape)
        if affine:
            weight, bias = (one.view(-1, *[1] * len(space)) for one in affine)
            y = y * weight + bias
        return (y, middle.view(batch, groups), scale.view(batch, groups)) if statistics else y

    return masked


def attention(scale: float, causal: bool = False, repeats: int = 1) -> Masked:
    """Softmax over the keys that are left, of products over what is left of the width, at the scale of before; zero where no key is left."""

    def masked(tensors: Tensors, masks: Tensors) -> torch.Tensor:
        q, k, v, *bias = tensors
        q, k, v = (one * mask for one, mask in zip((q, k, v), masks, strict=False))
        keys = masks[1].any(-1)
        if repeats > 1:
            k, v, keys = (one.repeat_interleave(repeats, dim=1) for one in (k, v, keys))
        scores = q @ k.transpose(-1, -2) * scale
        for one in bias:
            scores = scores.masked_fill(~one, -torch.inf) if one.dtype is torch.bool else scores + one
        if causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        return scores.masked_fill(~keys.unsqueeze(-2), -torch.inf).softmax(-1).nan_to_num() @ v

    return masked
