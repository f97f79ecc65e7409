"""Recurrent layers as ONNX's own operators, a node a layer, whatever the length of the sequence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import torch
from onnxscript import ir, opset18
from onnxscript.optimizer import fold_constants_ir
from torch import nn
from torch._ops import OpOverload
from torch.export import ExportedProgram

from penjing.network.unstepped import STEPPED

op: Final[Any] = opset18  # whose annotations are for scripts, not for values of a graph

Translation = Callable[..., tuple[ir.Value, ...]]

_FORMS: Final = frozenset({"GRU", "LSTM", "RNN"})
_WEIGHTS: Final = frozenset({1, 2, 3})  # inputs W, R and B


@dataclass(frozen=True)
class _Form:
    """How ONNX has an operator of PyTorch.

    Attributes:
        build: makes the node.
        gates: of PyTorch's gates, in ONNX's order.
        attributes: of the node, by the number of its directions.
    """

    build: Translation
    gates: tuple[int, ...]
    attributes: Callable[[int], Mapping[str, Any]] = field(default=lambda directions: {})


_GRU: Final = _Form(op.GRU, (1, 0, 2), lambda directions: {"linear_before_reset": 1})
_LSTM: Final = _Form(op.LSTM, (0, 3, 1, 2))
_TANH: Final = _Form(op.RNN, (0,), lambda directions: {"activations": ["Tanh"] * directions})
_RELU: Final = _Form(op.RNN, (0,), lambda directions: {"activations": ["Relu"] * directions})


def _translation(form: _Form) -> Translation:
    """(x[t n i] or x[n t i], states[l*d n h]..., weights...) -> y[t n d*h] or y[n t d*h], states[l*d n h]...

    ONNX has one layer a node, whose output is y[t d n h]. Dropout is nothing in eval mode.
    """

    def translate(
        x: ir.Value,
        states: ir.Value | Sequence[ir.Value],
        weights: Sequence[Any],
        has_biases: bool,
        layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[ir.Value, ...]:
        states = [states] if isinstance(states, ir.Value) else states
        directions, kinds = 2 if bidirectional else 1, 4 if has_biases else 2
        width = weights[1].shape[-1]
        x = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
        ends: list[Sequence[ir.Value]] = []
        for first in range(0, layers * directions, directions):
            own, last = weights[first * kinds :][: directions * kinds], first + directions
            y, *end = form.build(
                x,
                _arranged(own[::kinds], form.gates, [directions, -1, own[0].shape[-1]]),
                _arranged(own[1::kinds], form.gates, [directions, -1, width]),
                _arranged(_biases(own), form.gates, [directions, -1]) if has_biases else None,
                None,
                *(op.Slice(state, [first], [last], [0]) if layers > 1 else state for state in states),
                direction="bidirectional" if bidirectional else "forward",
                hidden_size=width,
                **form.attributes(directions),
            )
            ends.append(end)
            turned = batch_first and last == layers * directions
            x = op.Reshape(op.Transpose(y, perm=[2, 0, 1, 3] if turned else [0, 2, 1, 3]), [0, 0, -1])
        stacked = (op.Concat(*of, axis=0) if layers > 1 else of[0] for of in zip(*ends, strict=True))
        return (x, *stacked)

    return translate


def _biases(weights: Sequence[ir.Value]) -> list[ir.Value]:
    """Those of the input and of the state, direction by direction."""
    return [weight for index, weight in enumerate(weights) if index % 4 >= 2]


def _arranged(tensors: Sequence[ir.Value], gates: Sequence[int], shape: Sequence[int]) -> ir.Value:
    """Tensors of stacked gates, one below the other, each with its gates in another order."""
    stacked: ir.Value = op.Concat(*tensors, axis=0) if len(tensors) > 1 else tensors[0]
    if len(gates) > 1:
        parted = op.Reshape(stacked, [len(tensors), len(gates), -1])
        stacked = op.Gather(parted, list(gates), axis=1)
    stacked = op.Reshape(stacked, shape)
    return stacked


TRANSLATIONS: Mapping[Callable[..., Any], Translation] = MappingProxyType(
    {
        torch.ops.aten.gru.input: _translation(_GRU),
        torch.ops.aten.lstm.input: _translation(_LSTM),
        torch.ops.aten.rnn_tanh.input: _translation(_TANH),
        torch.ops.aten.rnn_relu.input: _translation(_RELU),
    }
)
"""For `torch.onnx.export`: what to write for the operators in the layers of `torch.nn`."""

_OPERATORS: Final[Mapping[str, OpOverload]] = MappingProxyType(
    {
        "GRU": torch.ops.aten.gru.input,
        "LSTM": torch.ops.aten.lstm.input,
        "RNN_TANH": torch.ops.aten.rnn_tanh.input,
        "RNN_RELU": torch.ops.aten.rnn_relu.input,
    }
)
"""By the `mode` of the layer that calls it."""


def odd_layers(model: nn.Module) -> frozenset[OpOverload]:
    """Operators of the model's recurrent layers that no runtime has: with projections, or in float64."""
    return frozenset(
        _OPERATORS[layer.mode]
        for layer in model.modules()
        if isinstance(layer, nn.RNNBase)
        if layer.proj_size or any(weight.dtype == torch.float64 for weight in layer.parameters())
    )


def unrolled(program: ExportedProgram, operators: Collection[OpOverload]) -> ExportedProgram:
    """The program with `operators` written out step by step."""
    return program.run_decompositions({one: STEPPED[one] for one in operators}) if operators else program


def fold_weights(model: ir.Model) -> None:
    """Computes the weights of recurrent operators, which the exporter's optimiser leaves alone if large."""
    if any(node.op_type in _FORMS for node in model.graph.all_nodes()):
        fold_constants_ir(model, output_size_limit=sys.maxsize, should_fold=_is_weight)


def _is_weight(node: ir.Node) -> bool:
    """Whether all that comes of a node goes into weights of recurrent operators."""
    uses = [use for value in node.outputs for use in value.uses()]
    return bool(uses) and all(
        index in _WEIGHTS if user.op_type in _FORMS else _is_weight(user) for user, index in uses
    )
