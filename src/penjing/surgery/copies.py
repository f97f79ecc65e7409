"""What a copy of a user's module needs before it can be judged: its weights anew, and in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

WIDER = {dtype: torch.float64 for dtype in (torch.float32, torch.float16, torch.bfloat16)} | {
    dtype: torch.complex128 for dtype in (torch.complex64, torch.complex32)
}
"""Types that are too narrow for a proof, and what takes their place."""


def recompute(module: nn.Module) -> None:
    """Lets hooks in the style of `prune` and `weight_norm` set their weight anew from its parameters."""
    hooks = [
        h for h in module._forward_pre_hooks.values() if type(h).__module__.startswith("torch.nn.utils.")
    ]
    training, module.training = module.training, False  # spectral norm would learn on the way
    with torch.no_grad():  # `deepcopy` refuses a weight that knows what it was computed from
        for hook in hooks:
            hook(module, ())
    module.training = training


def widened(model: nn.Module) -> nn.Module:
    """`model` in float64, in place, together with the plain tensors that its modules keep."""
    for module in model._apply(wide).modules():
        for name, value in vars(module).items():
            if any(_is_narrow(leaf) for leaf in pytree.tree_leaves(value)):
                vars(module)[name] = pytree.tree_map_only(_is_narrow, wide, value)
    return model


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` in float64, a complex one in complex128; integers as they are."""
    return tensor.to(WIDER.get(tensor.dtype, tensor.dtype))


def _is_narrow(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.dtype in WIDER
