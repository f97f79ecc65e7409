"""Recurrent operators traced by their sizes, where PyTorch's tracer would walk through every time step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch._subclasses import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

Compute = Callable[..., tuple[Tensor, ...]]

_KEY: Final = torch._C.DispatchKey.CompositeImplicitAutograd

STEPPED: Mapping[OpOverload, Compute] = MappingProxyType(
    {
        op: decomposition_table[op]
        for op in (
            torch.ops.aten.gru.input,
            torch.ops.aten.lstm.input,
            torch.ops.aten.rnn_tanh.input,
            torch.ops.aten.rnn_relu.input,
        )
    }
)
"""The recurrent operators over whole sequences, and PyTorch's step by step form of each."""


@contextmanager
def unstepped() -> Iterator[None]:
    """The tracer learns the sizes of a recurrent operator's outputs at once, whatever the length.

    It would compute every step on tensors without values, several times over. `torch.export` has the same
    places overridden where it turns these operators into loops.
    """
    before = {op: (decomposition_table[op], op.py_kernels.get(_KEY)) for op in STEPPED}
    try:
        for op, steps in STEPPED.items():
            _set(op, _sized(steps), _sized(steps))
        yield
    finally:
        for op, (decomposition, kernel) in before.items():
            _set(op, decomposition, kernel)


def _set(op: OpOverload, decomposition: Compute, kernel: Compute | None) -> None:
    decomposition_table[op] = decomposition
    op.py_kernels.pop(_KEY, None)
    if kernel is not None:
        op.py_kernels[_KEY] = kernel
    op._dispatch_cache.clear()


def _sized(steps: Compute) -> Compute:
    """`steps`, but for tensors without values that nobody records: there only sizes are asked for."""

    def compute(input: Tensor, hx: Any, params: Sequence[Tensor], *rest: Any) -> tuple[Tensor, ...]:
        if isinstance(input, FakeTensor) and get_proxy_mode() is None:
            return _outputs(input, [hx] if isinstance(hx, Tensor) else hx, *rest)
        return steps(input, hx, params, *rest)

    return compute


def _outputs(
    x: Tensor,
    states: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """(x[t n i] or x[n t i], states[l n h]...) -> y[t n d*h] or y[n t d*h], states[l n h]..."""
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    y = x.new_empty((steps, batch, states[0].shape[2] * (2 if bidirectional else 1)))
    return (y.transpose(0, 1) if batch_first else y, *(state.new_empty(state.shape) for state in states))
