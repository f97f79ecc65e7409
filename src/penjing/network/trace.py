"""From a model to its operator graph: `torch.export` (non-strict, high-level ATen), with wrappers inlined."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.inline import inline_wrappers


@dataclass(frozen=True)
class Trace:
    """An operator graph and where its inputs come from.

    Attributes:
        graph: call_function nodes over ATen operators; each node's `meta["val"]` holds its fake value.
        state: placeholder name -> dotted name in the module, for parameters and buffers.
        constants: placeholder name -> (name, tensor), for tensors that are neither.
        inputs: placeholder names of the user's inputs, in flattened order.
        in_spec: structure of (args, kwargs).
        out_spec: structure of the outputs.
        specialised: None, or why the graph holds for the example inputs only.
    """

    graph: fx.Graph
    state: dict[str, str]
    constants: dict[str, tuple[str, torch.Tensor]]
    inputs: tuple[str, ...]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    specialised: str | None = None


def capture(model: nn.Module, call: Call) -> Trace:
    """Traces `model` in eval mode; the model is left as it was.

    Raises:
        PenjingError: PJ102, the example inputs do not run through the model; PJ103, it cannot be traced.
    """
    with _quiet_eval(model):
        _try_run(model, call)
        try:
            program = torch.export.export(model, call.args, call.kwargs, strict=False)
        except Exception as refused:  # torch.export raises any type; each is answered by the recorder
            from penjing.network.record import record_operators

            return record_operators(model, call, refused)
        return _read(program)


def _read(program: torch.export.ExportedProgram) -> Trace:
    state: dict[str, str] = {}
    constants: dict[str, tuple[str, torch.Tensor]] = {}
    inputs: list[str] = []
    for spec in program.graph_signature.input_specs:
        name = spec.arg.name
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            state[name] = str(spec.target)
        elif spec.kind is InputKind.CONSTANT_TENSOR:
            constants[name] = (str(spec.target), program.constants[str(spec.target)])
        elif spec.kind is InputKind.USER_INPUT:
            inputs.append(name)
    odd = [spec for spec in program.graph_signature.output_specs if spec.kind is not OutputKind.USER_OUTPUT]
    graph = inline_wrappers(program.graph_module, drop_outputs=len(odd))
    assert program.call_spec.in_spec is not None
    assert program.call_spec.out_spec is not None
    return Trace(
        graph, state, constants, tuple(inputs), program.call_spec.in_spec, program.call_spec.out_spec
    )


def _try_run(model: nn.Module, call: Call) -> None:
    """Example inputs that do not run are the user's first mistake; the model's own words say it best."""
    if any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()]):
        return  # nothing to run on; the tracer works on shapes
    try:
        with torch.no_grad():
            call.run(model)
    except Exception as error:
        shapes = pytree.tree_map(
            lambda leaf: tuple(leaf.shape) if isinstance(leaf, torch.Tensor) else leaf, (call.args, call.kwargs)
        )
        raise PenjingError(
            "PJ102",
            f"`{type(model).__name__}` does not run on the example inputs {shapes}",
            because=f"{type(error).__name__}: {error}",
            path=where(error),
            tries=["check the shapes, types and devices of the example inputs against the model"],
        ) from error


def where(error: BaseException) -> str:
    """File and line in the user's code at which `error` arose (the last frame outside of torch)."""
    frames = []
    traceback: Any = error.__traceback__
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    own = [(file, line) for file, line in frames if "/torch/" not in file and "/penjing/" not in file]
    file, line = (own or frames or [("", 0)])[-1]
    return f"{file}:{line}"


@contextmanager
def _quiet_eval(model: nn.Module) -> Iterator[None]:
    """Eval mode for every module, fused attention fast paths off, exporter's chatter off; restored afterwards."""
    training = [(module, module.training) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, flag in training:
            module.training = flag
