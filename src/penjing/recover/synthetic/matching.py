"""Inputs moved until batch norms see the statistics that training left in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_RATE, _SMOOTH = 0.05, 1e-2


def norms_of(model: nn.Module) -> list[_BatchNorm]:
    """Batch norms that have running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def matched(
    model: nn.Module, inputs: Sequence[Tensor], run: Callable[[Sequence[Tensor]], Any], steps: int
) -> list[Tensor]:
    """Inputs near `inputs` whose batch statistics are nearer to the stored ones, in every batch norm.

    Minimises the squared distance of means and of standard deviations, each over the stored variance, and a
    little of the inputs' total variation, by Adam on the inputs. The model is in eval mode and stays as it
    is.

    Args:
        model: whose batch norms are asked.
        inputs: floating point, samples first.
        run: calls the model on them.
        steps: of Adam; 0 for none.

    Source: Yin et al. 2020 (DeepInversion), arXiv:1912.08795, equation 4, without labels.
    """
    norms = norms_of(model)
    if not steps or not norms or not inputs:
        return [tensor.detach() for tensor in inputs]
    apart: list[Tensor] = []
    handles = [
        norm.register_forward_pre_hook(lambda norm, args: apart.append(_apart(norm, args[0])))
        for norm in norms
    ]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    moved = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    scale = max(float(tensor.detach().std()) for tensor in moved)
    optimiser = torch.optim.Adam(moved, lr=_RATE * scale)
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            for _ in range(steps):
                apart.clear()
                run(moved)
                if not apart:
                    break
                rough = torch.stack([_roughness(tensor) for tensor in moved]).sum()
                aim = torch.stack(apart).mean() + _SMOOTH * rough
                optimiser.zero_grad()
                aim.backward()
                optimiser.step()
    finally:
        for handle in handles:
            handle.remove()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    return [tensor.detach() for tensor in moved]


def _apart(norm: _BatchNorm, x: Tensor) -> Tensor:
    rows = x.movedim(1, 0).flatten(1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    stored = norm.running_var + norm.eps
    means = (rows.mean(1) - norm.running_mean).square() / stored
    spreads = ((rows.var(1, unbiased=False) + norm.eps).sqrt() - stored.sqrt()).square() / stored
    return (means + spreads).mean()


def _roughness(x: Tensor) -> Tensor:
    """Total variation along spatial dimensions, over the spread."""
    found = [x.diff(dim=dim).square().mean() for dim in range(2, x.ndim) if x.shape[dim] > 1]
    return torch.stack(found).sum() / x.detach().var().clamp_min(1e-12) if found else x.new_zeros(())
