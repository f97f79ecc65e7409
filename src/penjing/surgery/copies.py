"""Copies of a user's module, whatever tensors its code keeps beside the registered ones."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


def copied(model: nn.Module) -> Any:
    """A deep copy, also where modules keep tensors that were computed from parameters.

    `copy.deepcopy` refuses those. Hooks in the style of `torch.nn.utils.prune` and `weight_norm` leave one
    in each module: the weight of the last call, which the next one computes anew.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for leaf in pytree.tree_leaves({**vars(module), "_parameters": None, "_modules": None}):
            if isinstance(leaf, torch.Tensor) and not leaf.is_leaf:
                memo[id(leaf)] = leaf.detach().clone()
    return deepcopy(model, memo)


def recompute(module: nn.Module) -> None:
    """Lets hooks in the style of `prune` and `weight_norm` set their weight anew from its parameters."""
    hooks = [
        h for h in module._forward_pre_hooks.values() if type(h).__module__.startswith("torch.nn.utils.")
    ]
    training, module.training = module.training, False  # spectral norm would learn on the way
    for hook in hooks:
        hook(module, ())
    module.training = training


def widened(model: nn.Module) -> nn.Module:
    """`model` in float64, in place, together with the plain tensors that its modules keep."""
    for module in model.double().modules():
        for name, value in vars(module).items():
            if any(_is_narrow(leaf) for leaf in pytree.tree_leaves(value)):
                vars(module)[name] = pytree.tree_map_only(_is_narrow, torch.Tensor.double, value)
    return model


def _is_narrow(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.dtype != torch.float64
