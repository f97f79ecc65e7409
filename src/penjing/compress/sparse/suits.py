"""Which layers can be stored in another form, and why the others cannot."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn
from torch.nn.utils import parametrize

from penjing.compress.sparse.layer import STORED


def objection(model: nn.Module, path: str, layer: nn.Module) -> str:
    """Why a linear layer or a convolution must stay as it is; "" where it need not."""
    if parametrize.is_parametrized(layer):
        return "its weight is computed (a parametrization)"
    if "weight" not in layer._parameters:
        return (
            'its weight is computed; for a mask, torch.nn.utils.prune.remove(layer, "weight") makes it final'
        )
    if type(layer) not in (nn.Linear, nn.Conv2d):
        return f"it is a `{type(layer).__name__}`, which may compute something else"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "it has hooks"
    if "forward" in vars(layer):
        return "its `forward` was replaced"
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if weight.dtype not in STORED or weight.device.type != "cpu":
        return f"its weight is {str(weight.dtype).removeprefix('torch.')} on {weight.device.type}"
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1:
            return "it is a grouped convolution"
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            return (
                f"its padding is `{layer.padding if isinstance(layer.padding, str) else layer.padding_mode}`"
            )
    uses = Counter(id(one) for _, one in model.named_parameters(remove_duplicate=False))
    places = sum(module is layer for _, module in model.named_modules(remove_duplicate=False))
    if uses[id(weight)] > places:
        return "its weight belongs to another layer, too"
    return ""
