"""On what inputs the layers of a model work: its example inputs, followed through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from penjing.network.call import Call


@dataclass(frozen=True)
class Calls:
    """What was seen of some layers while their model ran.

    Attributes:
        inputs: of every call of a layer, by the layer's `id`.
        objections: why another layer cannot take its place in the model's code, likewise.
    """

    inputs: Mapping[int, list[Tensor]]
    objections: Mapping[int, str]


def followed(model: nn.Module, call: Call, layers: Iterable[nn.Module]) -> Calls:
    """Runs `model` on `call` twice, and looks at how it uses its layers.

    Args:
        model: in the modes that it is to be used in.
        call: its example inputs.
        layers: of the model, each with a `weight`.
    """
    layers = list(layers)
    inputs: dict[int, list[Tensor]] = {}
    objections: dict[int, str] = {}
    fused = _Fused()
    with torch.inference_mode(), fused:  # hooks, and the other mode, would keep PyTorch from fusing anything
        call.copy().run(model)
    reads = _Reads({id(layer.weight): id(layer) for layer in layers})

    def begins(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        reads.at_work.append(id(layer))
        if len(args) != 1 or not isinstance(args[0], Tensor) or kwargs:
            objections[id(layer)] = "it is called with something else than one tensor"
        elif torch.is_autocast_enabled("cpu"):
            objections[id(layer)] = "it is called under autocast, in a narrower type than that of its weight"
        else:
            inputs.setdefault(id(layer), []).append(args[0].detach().clone())

    def ends(layer: nn.Module, args: Any, result: Any) -> None:
        reads.at_work.pop()
        if isinstance(result, Tensor) and result.ndim == 4 and not result.is_contiguous():
            objections[id(layer)] = "its outputs lie channels last"

    hooks = [
        *(layer.register_forward_pre_hook(begins, with_kwargs=True) for layer in layers),
        *(layer.register_forward_hook(ends) for layer in layers),
    ]
    try:
        with torch.inference_mode(), reads:
            call.copy().run(model)
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        if id(layer.weight) in fused.taken:
            objections[id(layer)] = (
                "an encoder layer that PyTorch fuses takes its weight; to have its layers called one by one: "
                "torch.backends.mha.set_fastpath_enabled(False)"
            )
        elif id(layer) not in inputs:
            objections.setdefault(id(layer), "it is not called by itself")
        elif id(layer) in reads.outside:
            objections.setdefault(id(layer), "its weight is used outside of it, too")
    return Calls(inputs, objections)


def counted(model: nn.Module, call: Call, layers: Mapping[str, nn.Module]) -> dict[str, int]:
    """How often each of these layers is called while `model` runs once."""
    found = dict.fromkeys(layers, 0)

    def hook(name: str) -> Any:
        def called(layer: nn.Module, args: Any) -> None:
            found[name] += 1

        return called

    hooks = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
    try:
        with torch.inference_mode():
            call.copy().run(model)
    finally:
        for one in hooks:
            one.remove()
    return found


class _Fused(TorchDispatchMode):
    """Notes which tensors go into the operator that is a whole encoder layer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taken: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name == "aten::_transformer_encoder_layer_fwd":
            self.taken |= {
                id(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
            }
        return func(*args, **(kwargs or {}))


class _Reads(TorchFunctionMode):
    """Notes whose weight is used while the layer itself is not at work."""

    def __init__(self, owners: Mapping[int, int]) -> None:
        """Takes the `id` of a layer by that of its weight."""
        super().__init__()
        self._owners = owners
        self.at_work: list[int] = []
        self.outside: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in pytree.tree_leaves((args, kwargs)):
            owner = self._owners.get(id(leaf)) if isinstance(leaf, Tensor) else None
            if owner is not None and owner not in self.at_work:
                self.outside.add(owner)
        return func(*args, **(kwargs or {}))
