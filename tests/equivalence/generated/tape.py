"""The judge's own record of a network: the primitive operators of one eager run, in float64.

Norms, softmax, gates and attention are written out in primitives, so that what is left are sums of products,
reductions, elementwise operators and renamings of positions. No code of penjing is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Any:
    dims = list(range(x.dim() - len(shape), x.dim()))
    mean = x.mean(dims, keepdim=True)
    scale = torch.rsqrt(x.var(dims, correction=0, keepdim=True) + eps)
    return _affine((x - mean) * scale, weight, bias), mean, scale


def _group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    c: int,
    pixels: int,
    groups: int,
    eps: float,
) -> Any:
    del pixels
    parts = x.reshape(n, groups, -1)
    mean = parts.mean(2, keepdim=True)
    scale = torch.rsqrt(parts.var(2, correction=0, keepdim=True) + eps)
    normal = ((parts - mean) * scale).reshape(x.shape)
    by_channel = [v if v is None else v.reshape(1, c, *[1] * (x.dim() - 2)) for v in (weight, bias)]
    return _affine(normal, *by_channel), mean, scale


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _softmax(x: Tensor, dim: int, *_: Any) -> Tensor:
    raised = torch.exp(x - x.amax(dim, keepdim=True))
    return raised / raised.sum(dim, keepdim=True)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Any:
    norm = v.square().sum([d for d in range(v.dim()) if d != dim], keepdim=True).sqrt()
    return v * (g / norm), norm


_WRITTEN_OUT = {
    **get_decompositions([aten.glu, aten.pixel_shuffle, aten.pixel_unshuffle]),
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten._weight_norm_interface.default: _weight_norm,
    aten._softmax.default: _softmax,
    aten._safe_softmax.default: _softmax,
}


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor: the number of its value on the tape."""

    number: int


@dataclass(frozen=True)
class Entry:
    """One primitive operator: what was called, on which values, and which values it made."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    reads: tuple[int, ...]
    makes: tuple[int, ...]

    def run(self, given: Sequence[Tensor], args: tuple[Any, ...] | None = None) -> list[Tensor]:
        """Calls it on other tensors (one for each of `reads`), and with other plain arguments."""
        left = iter(given)

        def fill(leaf: Any) -> Any:
            if isinstance(leaf, Slot):
                return next(left)
            return [fill(entry) for entry in leaf] if isinstance(leaf, list | tuple) else leaf

        filled = [fill(leaf) for leaf in (self.args if args is None else args)]
        named = {name: fill(leaf) for name, leaf in self.kwargs.items()}
        if self.function._schema.is_mutable:
            filled[0] = filled[0].clone()
        made = self.function(*filled, **named)
        return [
            one for one in (made if isinstance(made, tuple | list) else [made]) if isinstance(one, Tensor)
        ]


@dataclass
class Tape:
    """One run.

    Attributes:
        entries: operators in order.
        values: what each value was.
        parameters: dotted name -> value number.
        inputs: value numbers of the inputs.
        outputs: value numbers of the outputs.
        readers: value -> entries that read or make it.
        constants: values that are no input and depend on none.
        aliased: something was written to through a view and read elsewhere, which the tape cannot follow.
    """

    entries: list[Entry] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    readers: dict[int, list[int]] = field(default_factory=dict)
    constants: set[int] = field(default_factory=set)
    aliased: bool = False


class _Recorder(TorchDispatchMode):
    """Numbers tensors as they come up. Values are copies: what is written to later stays as it was."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self._number: dict[int, int] = {}
        self._seen: list[Tensor] = []
        self._stale: set[int] = set()

    def number(self, tensor: Tensor, *, fresh: bool = False) -> int:
        if fresh or id(tensor) not in self._number:
            self._number[id(tensor)] = len(self._seen)
            self._seen.append(tensor)
            self.tape.values.append(tensor.detach().clone())
        return self._number[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _WRITTEN_OUT:
            with self:
                return _WRITTEN_OUT[func](*args, **kwargs)
        if func is aten.as_strided_.default and list(args[1]) == list(args[0].shape):
            return func(*args, **kwargs)  # the memory layout alone
        func, args = _plainer(func, args)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        reads = tuple(self.number(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        self.tape.aliased |= not self._stale.isdisjoint(reads)
        slotted, named = pytree.tree_unflatten(
            [Slot(self.number(leaf)) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec
        )
        if func._schema.is_mutable:
            self._write(args[0])
        made = func(*args, **kwargs)
        results = [
            one for one in (made if isinstance(made, tuple | list) else [made]) if isinstance(one, Tensor)
        ]
        makes = tuple(self.number(one, fresh=True) for one in results)
        self.tape.entries.append(Entry(func, slotted, named, reads, makes))
        return made

    def _write(self, tensor: Tensor) -> None:
        """Other values that share the memory of one that is written to are no longer what they were."""
        memory = tensor.untyped_storage().data_ptr()
        own = self._number[id(tensor)]
        self._stale |= {
            n for n, seen in enumerate(self._seen) if n != own and seen.untyped_storage().data_ptr() == memory
        }


def _plainer(func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Equal pieces as pieces of stated sizes: what a person would write who wants other sizes."""
    if func in (aten.split.Tensor, aten.unsafe_split.Tensor):
        x, size, dim = args[0], args[1], args[2] if len(args) > 2 else 0
        whole = x.shape[dim]
        sizes = [min(size, whole - start) for start in range(0, whole, size)]
        return aten.split_with_sizes.default, (x, sizes, dim)
    if func is aten.tensor_split.sections:
        x, pieces, dim = args[0], args[1], args[2] if len(args) > 2 else 0
        whole = x.shape[dim]
        sizes = [whole // pieces + (place < whole % pieces) for place in range(pieces)]
        return aten.split_with_sizes.default, (x, sizes, dim)
    return func, args


def record(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tape:
    """Runs a float64 copy of `model` once."""
    model = deepcopy(model).double().eval().requires_grad_(False)
    given = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    tape = Tape()
    recorder = _Recorder(tape)
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    tape.parameters = {name: recorder.number(tensor) for name, tensor in named}
    tape.inputs = tuple(recorder.number(tensor) for tensor in given)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
            out = model(*given)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    tape.outputs = tuple(
        recorder.number(leaf) for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)
    )
    moving = set(tape.inputs)
    for entry in tape.entries:
        if moving.intersection(entry.reads):
            moving.update(entry.makes)
    tape.constants = set(range(len(tape.values))) - moving
    for place, entry in enumerate(tape.entries):
        for value in {*entry.reads, *entry.makes}:
            tape.readers.setdefault(value, []).append(place)
    return tape
