"""Adam on some parameters of a model, with a cosine, and a way back."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from penjing.recover.weights import copied, put

CLIP = 1.0
"""Largest norm of a step's gradient."""


def tune(
    model: nn.Module,
    names: Collection[str] | None,
    loss: Callable[[int], Tensor],
    steps: int,
    lr: float,
    judge: Callable[[], float],
    advance: Callable[..., None],
) -> tuple[float, float]:
    """Makes gradient steps, and goes back where they did not help.

    Only parameters that ask for gradients are changed.

    Args:
        model: holds the parameters.
        names: of those to tune; None for all.
        loss: number of a step -> what to minimise.
        steps: how many.
        lr: highest learning rate; a cosine leads from it to zero.
        judge: a figure of the model as it is, lower for better.
        advance: told of every step.

    Returns:
        What `judge` says before and of what is kept.
    """
    chosen = [p for name, p in model.named_parameters() if names is None or name in names]
    tuned = [parameter for parameter in chosen if parameter.requires_grad]
    before, former = judge(), copied(model)
    if not tuned:
        return before, before
    optimizer = torch.optim.Adam(tuned, lr=lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        value = loss(step)
        gradients = torch.autograd.grad(value, tuned, allow_unused=True)
        for parameter, gradient in zip(tuned, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(tuned, CLIP)
        if not bool(norm.isfinite()):
            break
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        advance(loss=float(value.detach()))
    for parameter in tuned:
        parameter.grad = None
    after = judge()
    if not after < before:
        put(model, former)
        after = before
    return before, after
