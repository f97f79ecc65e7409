"""Models of one operator, to probe a device with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

_OPSET: Final = 18
_IR_VERSION: Final = 10


@dataclass(frozen=True)
class Single:
    """A model of one operator with input `x` and output `y`.

    Attributes:
        model: the serialised ONNX model.
        shape: of `x`.
    """

    model: bytes
    shape: tuple[int, ...]

    def layer(self) -> nn.Module:
        """The same operator as a PyTorch module."""
        graph = onnx.load_from_string(self.model).graph
        weight, bias = (torch.tensor(numpy_helper.to_array(one)) for one in graph.initializer)
        made: nn.Module
        if graph.node[0].op_type == "Gemm":
            made = nn.Linear(weight.shape[1], weight.shape[0])
        else:
            outs, ins, kernel, _ = weight.shape
            groups = self.shape[1] // ins
            made = nn.Conv2d(ins * groups, outs, kernel, padding=kernel // 2, groups=groups)
        made.load_state_dict({"weight": weight, "bias": bias})
        return made.eval()


def convolution(inputs: int, outputs: int, *, size: int, kernel: int, groups: int = 1) -> Single:
    """A square convolution with bias that keeps the image's size."""
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, group=groups
    )
    weights = {"w": (outputs, inputs // groups, kernel, kernel), "b": (outputs,)}
    return _single(node, (1, inputs, size, size), weights, (1, outputs, size, size))


def depthwise(channels: int, *, size: int, kernel: int) -> Single:
    """A convolution of every channel by itself."""
    return convolution(channels, channels, size=size, kernel=kernel, groups=channels)


def linear(rows: int, inputs: int, outputs: int) -> Single:
    """A linear layer with bias on `rows` rows."""
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    return _single(node, (rows, inputs), {"w": (outputs, inputs), "b": (outputs,)}, (rows, outputs))


def _single(
    node: NodeProto, x: tuple[int, ...], weights: Mapping[str, tuple[int, ...]], y: tuple[int, ...]
) -> Single:
    random = np.random.default_rng(0)
    graph = helper.make_graph(
        [node],
        "single",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [
            numpy_helper.from_array(0.1 * random.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    return Single(model.SerializeToString(), x)
