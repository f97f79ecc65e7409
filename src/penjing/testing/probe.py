"""A function of tensors as a network in which every dimension, of inputs and outputs alike, may be cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from penjing.network import Call, Network
from penjing.network.op import Dims, Rule
from penjing.network.solve import solve
from penjing.network.trace import capture
from penjing.surgery.proof import exact

Function = Callable[..., Any]
Outputs = list[torch.Tensor]
ONE = torch.ones(())


class Probed(nn.Module):
    """Calls a function on its own parameters, and multiplies every output with a parameter of ones."""

    def __init__(self, function: Function, tensors: Sequence[torch.Tensor]) -> None:
        """Runs the function once, to learn the shapes of its outputs."""
        super().__init__()
        self._function = function
        self._inputs = [f"input{place}" for place in range(len(tensors))]
        for name, tensor in zip(self._inputs, tensors, strict=True):
            self.register_parameter(name, nn.Parameter(tensor.clone(), requires_grad=False))
        with torch.no_grad():
            outputs = tensors_of(function(*(tensor.clone() for tensor in tensors)))
        self._probes = [None if one.is_complex() else f"probe{place}" for place, one in enumerate(outputs)]
        for probe, one in zip(self._probes, outputs, strict=True):
            if probe is not None:
                kind = torch.int64 if one.dtype is torch.bool else one.dtype
                self.register_parameter(
                    probe, nn.Parameter(torch.ones(one.shape, dtype=kind), requires_grad=False)
                )

    def forward(self, one: torch.Tensor) -> Outputs:
        """The function's outputs, times the number one: a network has an input."""
        outputs = tensors_of(self._function(*(self.get_parameter(name) for name in self._inputs)))
        pairs = zip(outputs, self._probes, strict=True)
        return [(y if probe is None else y * self.get_parameter(probe)) * one for y, probe in pairs]


def tensors_of(result: Any) -> Outputs:
    """Every tensor of a result, in order."""
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def run(function: Function, tensors: Sequence[torch.Tensor]) -> Outputs:
    """The outputs of a function of copies of `tensors`, computed in float64."""
    with exact():
        return tensors_of(function(*(tensor.clone() for tensor in tensors)))


def network_of(function: Function, tensors: Sequence[torch.Tensor], rules: Mapping[str, Rule]) -> Network:
    """Traces and solves a function of tensors with its ends left free."""
    module, call = Probed(function, tensors), Call((ONE,))
    trace = capture(module, call)
    return Network(module, call, trace, solve(trace, rules, module, ends=False))


def input_dims(net: Network, count: int) -> list[Dims]:
    """The dimensions of each input; () for one that no operator reads."""
    return [net.tensors.get(f"input{place}", ()) for place in range(count)]


def output_dims(net: Network) -> list[Dims]:
    """The dimensions of each output."""
    end = next(node for node in net.trace.graph.nodes if node.op == "output")
    leaves = [leaf for leaf in pytree.tree_leaves(end.args[0]) if isinstance(leaf, fx.Node)]
    found = [net.solution.values[leaf] for leaf in leaves]
    assert all(isinstance(dims, tuple) for dims in found)
    return found  # type: ignore[return-value]
