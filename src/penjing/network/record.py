"""The operators that a model executes on its example inputs: what is traced where `torch.export` refuses.

The same tracer as `torch.export` uses, above autograd, so that `linear`, `conv2d` and attention stay whole;
but on real tensors, so that code may look at values. What it decides from them is decided for good.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.executed import Execution
from penjing.network.program import Trace
from penjing.network.recorded import Recorded
from penjing.network.source import defined, text, where

_NUMBERS = (bool, int, float, complex, str)
_PLAIN = (*_NUMBERS, torch.Tensor, torch.dtype, torch.device, torch.memory_format, torch.layout)


def record_operators(model: nn.Module, call: Call, refused: Exception) -> Trace:
    """Runs `model` once on the example inputs and takes down its operators.

    Args:
        model: the model, in eval mode.
        call: the example inputs.
        refused: what `torch.export` said.

    Raises:
        PenjingError: PJ103, this cannot be done either.
    """
    keyed, in_spec = pytree.tree_flatten_with_path((call.args, call.kwargs))
    given = [leaf for _, leaf in keyed]
    _require_plain(given, model, "takes", "register it: torch.export.register_dataclass(...)")
    named = dict(_tensors_of(model))
    brought = list({id(t): t for t in [*named.values(), *given] if isinstance(t, torch.Tensor)}.values())
    execution = Execution(model, call)
    try:
        with torch.no_grad():
            traced = make_fx(execution.run, pre_dispatch=True, _error_on_data_dependent_ops=False)(*brought)
    except Exception as error:  # the user's code may raise anything under the tracer
        because = f"recording: {_say(error)}; torch.export: {_say(refused)}"
        raise _cannot(model, because, where(error, model)) from error
    branching = [n for n in traced.graph.nodes if isinstance(n.target, HigherOrderOperator)]
    if branching:
        because = f"`{branching[0].target}` holds graphs of its own; torch.export: {_say(refused)}"
        raise _cannot(model, because, where(refused, model))
    assert execution.structure is not None
    _require_plain(
        execution.leaves, model, "returns", "return tensors: one, or a tuple, dict or dataclass of them"
    )
    placeholders = (node for node in traced.graph.nodes if node.op == "placeholder")
    holders = dict(zip(map(id, brought), placeholders, strict=True))
    recorded = Recorded(execution)
    for name, tensor in named.items():
        recorded.bring_state(name, tensor, holders[id(tensor)])
    recorded.bring_constants(traced, model)
    inputs = [
        recorded.bring_input(name, leaf, holders.get(id(leaf)))
        for name, leaf in zip(_input_names(model, call, [path for path, _ in keyed]), given, strict=True)
    ]
    recorded.operators(traced.graph)
    if execution.exit and recorded.fresh:
        because = "values leave torch there and come back: what is computed in between cannot be followed"
        raise _cannot(model, because, execution.exit)
    if not recorded.depends_on(inputs):
        because = "no output depends on an input through operators of torch"
        raise _cannot(model, because, where(refused, model))
    names, why = tuple(node.name for node in inputs), _reason(model, refused)
    return Trace(recorded.graph, recorded.state, recorded.constants, names, in_spec, execution.structure, why)


def _tensors_of(model: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _input_names(model: nn.Module, call: Call, paths: Sequence[pytree.KeyPath]) -> list[str]:
    """A name for each leaf of (args, kwargs): the argument of `forward`, and the way into it."""
    positional = inspect.signature(model.forward).bind_partial(*call.args).arguments
    names = list(positional)
    found = []
    for kind, key, *inside in paths:
        in_args = isinstance(kind, pytree.SequenceKey) and kind.idx == 0
        if not in_args:
            start = str(key.key)  # type: ignore[attr-defined]
        elif key.idx < len(names) and not isinstance(positional[names[key.idx]], tuple):  # type: ignore[attr-defined]
            start = names[key.idx]  # type: ignore[attr-defined]
        else:
            start = f"args_{key.idx}"  # type: ignore[attr-defined]
        found.append("_".join([start, *(pytree.keystr((step,)).strip("[].'\"") for step in inside)]))
    return found


def _require_plain(leaves: Iterable[Any], model: nn.Module, verb: str, way: str) -> None:
    """Refuses leaves that may hold tensors where nobody sees them."""
    for leaf in leaves:
        if leaf is not None and not isinstance(leaf, _PLAIN):
            raise PenjingError(
                "PJ103",
                f"`{type(model).__name__}` cannot be traced",
                because=f"it {verb} a `{type(leaf).__qualname__}`, in which penjing sees no tensors",
                path=defined(model),
                tries=[way],
            )


def _cannot(model: nn.Module, because: str, path: str) -> PenjingError:
    return PenjingError(
        "PJ103",
        f"`{type(model).__name__}` cannot be traced",
        because=because,
        path=path,
        tries=[
            "write the step at that line with operators of torch",
            "trace the part of the model before or after it: penjing.trace(model.part, inputs_of_part)",
        ],
    )


def _reason(model: nn.Module, refused: Exception) -> str:
    place = where(refused, model)
    line = text(place)
    at = f"{place}, `{line}`" if line else place
    return f"torch.export refuses {at} ({_say(refused)}): only what the example inputs execute is known"


def _say(error: Exception) -> str:
    """The type and the first line of an error, without what only developers of torch read."""
    lines = str(error).strip().splitlines()
    said = re.split(r" \(unhinted: | See https?://", lines[0])[0].rstrip(".") if lines else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
