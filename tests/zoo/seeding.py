"""Seeded construction: no model of the zoo is left in a state that no training would leave it in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> Callable[[], nn.Module]:
    """A builder whose every call gives the same module, in eval mode, with no constant tensors left.

    Fresh modules hold zeros and ones (norms, layer scales, position tables) that would hide a wrong cut.
    """

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make()
            _disturb(model)
        return model.eval()

    return build


@torch.no_grad()
def _disturb(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and bool((parameter == parameter.flatten()[0]).all()):
            scale = 0.2 if parameter.numel() == 1 else 0.4
            base = parameter if name.endswith(("weight", "original0")) else parameter.clamp(max=0.5)
            parameter.copy_(base + scale * (torch.rand_like(parameter) - 0.5))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.2 * torch.randn_like(buffer))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand_like(buffer))


def randn(*shape: int, seed: int = 0) -> Tensor:
    """Seeded normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(*shape: int, vocabulary: int, seed: int = 0) -> Tensor:
    """Seeded token ids."""
    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(seed))
