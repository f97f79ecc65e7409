"""Zeros that stay zero, whatever an optimizer remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from penjing.compress.masks.module import held_by


@contextmanager
def held(model: nn.Module, masks: Mapping[str, Tensor], optimizer: Optimizer) -> Iterator[None]:
    """Inside, no step of the optimizer revives a weight that is masked out.

    Before every step the gradients of such weights are cleared; after it the weights themselves, and what the
    optimizer keeps of them (momentum, moments). Zeros are exact at every moment, whatever the momentum, the
    weight decay or the state that was there before. For weights under a parametrization it is not needed, and
    does no harm.

    Args:
        model: whose weights are zeros, or are set to zero now.
        masks: parameter name -> bool; false is held at zero.
        optimizer: that steps.

    Raises:
        PenjingError: PJ814, a mask fits no parameter.
    """
    found = held_by(model, masks)
    pairs = [(weight, ~masks[name].to(weight.device)) for name, weight in found.items()]

    def before(*_: Any) -> None:
        clear_gradients(pairs)

    def after(*_: Any) -> None:
        clear(pairs, optimizer)

    clear(pairs, optimizer)
    hooks = [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def clear_gradients(pairs: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Sets gradients to zero where weights are gone.

    Args:
        pairs: parameter, and bool of its shape: true where it is gone.
    """
    for weight, gone in pairs:
        if weight.grad is not None:
            weight.grad.masked_fill_(gone, 0)


@torch.no_grad()
def clear(pairs: list[tuple[nn.Parameter, Tensor]], optimizer: Optimizer | None) -> None:
    """Sets weights to zero where they are gone, and with them what the optimizer keeps element by element.

    Args:
        pairs: parameter, and bool of its shape: true where it is gone.
        optimizer: with its state; None for none.
    """
    for weight, gone in pairs:
        weight.masked_fill_(gone, 0)
        for value in (optimizer.state.get(weight, {}) if optimizer is not None else {}).values():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                value.masked_fill_(gone, 0)
