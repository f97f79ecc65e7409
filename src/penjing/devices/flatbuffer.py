"""LiteRT files of one operator, to probe a device with: written directly, since converting takes seconds."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from penjing.devices.single import Single

_VERSION: Final = 3
_SCALE: Final = 0.01

Values = npt.NDArray[Any]


def single_tflite(single: Single, *, precision: Literal["float32", "int8"] = "float32") -> bytes:
    """The same operator as a `.tflite` file: convolutions over (n, y, x, channels), depthwise or not; linear.

    A grouped convolution other than a depthwise one has no form here: no probe asks for it. In int8 all
    scales are made up: such a file is to be timed, not to be believed.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = onnx.load_from_string(single.model).graph
    weight, bias = (numpy_helper.to_array(one) for one in graph.initializer)
    rows, outs = single.shape[0], weight.shape[0]
    if graph.node[0].op_type == "Gemm":
        code, form, options = schema.BuiltinOperator.FULLY_CONNECTED, 8, schema.FullyConnectedOptionsT()
        shapes = [[rows, weight.shape[1]], [rows, outs]]
    else:
        _, ins, height, width = single.shape
        code, form, options = schema.BuiltinOperator.CONV_2D, 1, schema.Conv2DOptionsT()
        if weight.shape[1] == 1 and ins > 1:
            assert outs == ins, "a depthwise convolution"
            code, form, options = schema.BuiltinOperator.DEPTHWISE_CONV_2D, 2, _depthwise(schema)
            weight = weight.transpose(1, 2, 3, 0)  # (1, y, x, channels)
        else:
            weight = weight.transpose(0, 2, 3, 1)  # (out, y, x, in)
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        shapes = [[rows, height, width, ins], [rows, height, width, outs]]
    model = schema.ModelT()
    model.version, model.description = _VERSION, "one operator"
    whole = precision == "int8"
    values = [_integers(weight, np.int8), _integers(bias, np.int32)] if whole else [weight, bias]
    model.buffers = [_buffer(schema, None), *(_buffer(schema, one) for one in values)]
    kinds = ["INT8", "INT8", "INT32", "INT8"] if whole else ["FLOAT32"] * 4
    tensors = [
        ("x", shapes[0], 0),
        ("w", list(weight.shape), 1),
        ("b", list(bias.shape), 2),
        ("y", shapes[1], 0),
    ]
    operator_code, operator, part = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT()
    operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
    operator_code.version = 1
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = form, options
    part.tensors = [_tensor(schema, *one, kind=kind) for one, kind in zip(tensors, kinds, strict=True)]
    part.inputs, part.outputs, part.operators = [0], [3], [operator]
    model.operatorCodes, model.subgraphs = [operator_code], [part]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _depthwise(schema: Any) -> Any:
    options = schema.DepthwiseConv2DOptionsT()
    options.depthMultiplier = 1
    return options


def _integers(values: Values, kind: type[np.integer[Any]]) -> Values:
    """The values as whole numbers of a tensor with the scale `_SCALE`."""
    limits = np.iinfo(kind)
    return np.clip(np.round(values / _SCALE), limits.min, limits.max).astype(kind)


def _buffer(schema: Any, values: Values | None) -> Any:
    made = schema.BufferT()
    if values is not None:
        made.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
    return made


def _tensor(schema: Any, name: str, shape: list[int], buffer: int, *, kind: str) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, shape, buffer, getattr(schema.TensorType, kind)
    if kind != "FLOAT32":
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [_SCALE], [0]
    return made
