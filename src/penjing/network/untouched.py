"""A model runs, and is then as it was before."""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

_REGISTERED = ("_parameters", "_buffers", "_modules")
_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Eval mode, fused attention paths off, warnings silent; whatever `forward` changes is undone at the end.

    Put back are attributes and buffers of every module, containers among them, training flags, hooks and the
    random state. Parameters are not: they would be needed twice in memory.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    before = _Snapshot(model)
    on_gpus = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=on_gpus), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.backends.mha.set_fastpath_enabled(False)
            forget(model)
            model.eval()
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        before.restore()


def forget(model: nn.Module) -> None:
    """Lets modules drop tensors that they keep from call to call: those whose own `train` sees to that.

    Some keep what they compute from parameters (a table of biases) until they are trained on. What is kept
    would be taken for a constant, and not be cut.
    """
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        if type(module).train is not nn.Module.train and _keeps_tensors(module):
            module.train(True)
    for module, mode in modes:
        module.training = mode


def _keeps_tensors(module: nn.Module) -> bool:
    plain = {name: value for name, value in vars(module).items() if name not in _REGISTERED}
    return any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(plain))


class _Snapshot:
    """What the modules of a model hold: the contents of their containers, and the values of their buffers."""

    def __init__(self, model: nn.Module) -> None:
        self._contents: dict[int, tuple[Any, Any]] = {}
        self._values: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for module in model.modules():
            self._remember(vars(module))

    def _remember(self, root: Any) -> None:
        stack = [root]
        while stack:
            held = stack.pop()
            if type(held) in _CONTAINERS and id(held) not in self._contents:
                self._contents[id(held)] = (held, held.copy())
                stack.extend(held.values() if isinstance(held, dict) else held)
            elif isinstance(held, tuple):
                stack.extend(held)
            elif _has_value(held) and id(held) not in self._values:
                self._values[id(held)] = (held, held.detach().clone())

    def restore(self) -> None:
        """Puts everything back that is no longer what it was."""
        for held, content in self._contents.values():
            if not _same(held, content):
                held.clear()
                (held.extend if isinstance(held, list | deque) else held.update)(content)
        with torch.no_grad():
            for tensor, value in self._values.values():
                if tensor.shape == value.shape and not torch.equal(tensor, value):
                    tensor.copy_(value)


def _has_value(held: Any) -> bool:
    return isinstance(held, torch.Tensor) and not isinstance(held, nn.Parameter) and not held.is_meta


def _same(held: Any, content: Any) -> bool:
    """Whether two containers hold the very same objects in the same order."""
    if len(held) != len(content):
        return False
    if isinstance(held, dict):
        pairs = zip(held.items(), content.items(), strict=True)
        return all(a is b and x is y for (a, x), (b, y) in pairs)
    if isinstance(held, set):
        return bool(held == content)
    return all(a is b for a, b in zip(held, content, strict=True))
