"""On what inputs the layers of a model work: its example inputs, followed through once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from penjing.network.call import Call


def layer_inputs(model: nn.Module, call: Call, layers: Iterable[nn.Module]) -> dict[int, list[Tensor]]:
    """Every input of every layer while `model` runs on `call` once, by the layer's `id`.

    A layer that is called with anything else than one tensor is not listed.
    """
    found: dict[int, list[Tensor]] = {}
    odd: set[int] = set()

    def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor) and not kwargs:
            found.setdefault(id(layer), []).append(args[0].detach().clone())
        else:
            odd.add(id(layer))

    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        with torch.inference_mode():
            call.run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return {key: inputs for key, inputs in found.items() if key not in odd}
