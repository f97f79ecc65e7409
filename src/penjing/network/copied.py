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
