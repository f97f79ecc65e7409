"""Whether a model's code takes the outputs of a layer by columns, as a sparse product leaves them.

To lay them out by rows, as a dense layer does, takes up to a third of what the product itself takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from penjing.network.call import Call

_MINDFUL: Final = frozenset(
    {
        Tensor.view, Tensor.view_as, Tensor.as_strided, torch.as_strided, Tensor.stride, Tensor.is_contiguous,
        Tensor.data_ptr, Tensor.untyped_storage, Tensor.storage_offset, Tensor.numpy,
    }
)  # fmt: skip
"""What may fail, or do something else, on a tensor that lies otherwise: perhaps on another batch only."""


def taking_columns(model: nn.Module, call: Call, layers: Iterable[nn.Linear]) -> list[nn.Linear]:
    """Those of `layers` whose outputs may lie by columns, all of them at once.

    The model runs once for each, with outputs that lie so. A layer is left out where that fails, or where
    code looks at how a tensor lies that lies by rows otherwise, or where an output of the model lies by
    columns then.

    Args:
        model: in the modes that it is to be used in.
        call: the example inputs.
        layers: linear ones of it. On a single row there is nothing to be told apart, and nothing to gain.
    """
    usual = _noticed(model, call)
    found: list[nn.Linear] = []
    for layer in layers:
        hooks = [one.register_forward_hook(_by_columns) for one in (*found, layer)]
        try:
            if _noticed(model, call) == usual:
                found.append(layer)
        except Exception:  # of `view`, of an operator that wants rows, of the user's own code
            continue
        finally:
            for hook in hooks:
                hook.remove()
    return found


def looked_at_alike(model: nn.Module, small: nn.Module, call: Call) -> bool:
    """Whether `small`, where some outputs lie by columns, looks at its tensors as `model` does."""
    try:
        return _noticed(small, call) == _noticed(model, call)
    except Exception:  # likewise
        return False


def _noticed(model: nn.Module, call: Call) -> tuple[int, tuple[bool, ...]]:
    """How often code looked at how a tensor lies that does not lie by rows; and which outputs do.

    Raises:
        RuntimeError: the code cannot work with a tensor that lies so.
    """
    looks = _Looks()
    with torch.inference_mode(), looks:
        result = call.copy().run(model)
    leaves = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
    return looks.count, tuple(leaf.is_contiguous() for leaf in leaves)


def _by_columns(layer: nn.Module, args: Any, result: Tensor) -> Tensor:
    rows = result.reshape(-1, result.shape[-1])
    return rows.t().contiguous().t().reshape(result.shape)


class _Looks(TorchFunctionMode):
    """Counts calls that mind how their tensor lies, on tensors that do not lie by rows."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in _MINDFUL and isinstance(args[0], Tensor) and not args[0].is_contiguous():
            self.count += 1
        return func(*args, **(kwargs or {}))
