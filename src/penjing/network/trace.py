"""From a model to its operator graph: `torch.export` (non-strict, high-level ATen), with wrappers inlined."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO

import torch
from torch import nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network.call import Call
from penjing.network.inline import inline_wrappers
from penjing.network.outputs import flatten
from penjing.network.program import Trace
from penjing.network.record import record_operators
from penjing.network.source import where
from penjing.network.symbolic import settle_sizes
from penjing.network.unstepped import unstepped
from penjing.network.untouched import untouched

__all__ = ["Trace", "capture", "where"]

_CHATTY = ("torch.export._trace", "torch.fx.experimental.symbolic_shapes")


def capture(model: nn.Module, call: Call) -> Trace:
    """Traces `model` in eval mode; the model is left as it was.

    Raises:
        PenjingError: PJ102, the example inputs do not run through the model; PJ103, it cannot be traced.
    """
    with untouched(model):
        _try_run(model, call.copy())
    with untouched(model):
        try:
            return _export(model, call)
        except Exception as error:  # torch.export raises any type; each is answered by the recorder
            refused = error
    with untouched(model):
        return record_operators(model, call.copy(), refused)


def capture_training(model: nn.Module, call: Call, trace: Trace) -> Trace | None:
    """The graph of `model` in training mode, if only that reads some parameters (an auxiliary head).

    The model is left as it was. None where all are read, or where the model cannot be traced in that mode.
    """
    held = dict(model.named_parameters(remove_duplicate=False))
    nodes = [node for node in trace.graph.nodes if node.users and trace.state.get(node.name) in held]
    read = {id(held[trace.state[node.name]]) for node in nodes}
    if trace.specialised or all(id(parameter) in read for parameter in held.values()):
        return None
    for capturing in (_export, _record):
        with untouched(model), suppress(Exception):  # a model may not be made to be trained at all
            try:
                torch.manual_seed(0)
                model.train()
                return capturing(model, call)
            finally:
                model.eval()
    return None


def _export(model: nn.Module, call: Call) -> Trace:
    with torch.enable_grad(), _flat_outputs(model) as structures, _quiet(), unstepped():
        program = torch.export.export(model, call.args, call.kwargs, strict=False)
    return _read(program, structures[-1])


def _record(model: nn.Module, call: Call) -> Trace:
    return record_operators(model, call.copy(), RuntimeError("not exported"))


def _read(program: torch.export.ExportedProgram, out_spec: pytree.TreeSpec) -> Trace:
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
    settle_sizes(graph)
    assert program.call_spec.in_spec is not None
    return Trace(graph, state, constants, tuple(inputs), program.call_spec.in_spec, out_spec)


def _try_run(model: nn.Module, call: Call) -> None:
    """Example inputs that do not run are the user's first mistake; the model's own words say it best."""
    if any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()]):
        return  # nothing to run on; the tracer works on shapes
    try:
        with torch.no_grad():
            call.run(model)
    except Exception as error:
        shapes = pytree.tree_map(
            lambda leaf: tuple(leaf.shape) if isinstance(leaf, torch.Tensor) else leaf,
            (call.args, call.kwargs),
        )
        raise PenjingError(
            "PJ102",
            f"`{type(model).__name__}` does not run on the example inputs {shapes}",
            because=f"{type(error).__name__}: {error}",
            path=where(error, model),
            tries=["check the shapes, types and devices of the example inputs against the model"],
        ) from error


@contextmanager
def _flat_outputs(model: nn.Module) -> Iterator[list[pytree.TreeSpec]]:
    """Lets `model` return its leaves as a tuple: the exporter need not know the classes that hold them.

    Yields:
        The structures of the outputs, one for each call.
    """
    structures: list[pytree.TreeSpec] = []

    def opened(module: nn.Module, args: Any, outputs: Any) -> tuple[Any, ...]:
        leaves, structure = flatten(outputs)
        structures.append(structure)
        return tuple(leaves)

    handle = model.register_forward_hook(opened)
    try:
        yield structures
    finally:
        handle.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's own words on a refusal off the terminal, above all the graph; nobody else's."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with redirect_stderr(_WithoutGraphs(sys.stderr)):
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


class _WithoutGraphs:
    """A stream that lets everything through but the text of a graph, and the line end after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._dropped = False

    def write(self, text: str) -> int:
        graph = "def forward(self" in text and "torch.ops." in text
        dropped = graph or (self._dropped and text == "\n")
        self._dropped = graph
        return len(text) if dropped else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
