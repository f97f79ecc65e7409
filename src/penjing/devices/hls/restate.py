"""A network in the words of hls4ml's PyTorch reader: plain layers, one after another, with plain names.

The reader follows a module's own code by `torch.fx` and knows layers by their classes. What it is given here
is written anew from the exported program instead, so that neither functional code nor nesting matters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.fx.operator_schemas import normalize_function
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from penjing.devices.export import exporting, own_words, quiet
from penjing.devices.feeds import tensors
from penjing.errors import PenjingError
from penjing.network.call import Call

Given = Mapping[str, Any]
Layer = Callable[[Given, Tensor], nn.Module]
"""Makes a layer of an operator's arguments, tensors among them as values, and of its example input."""


class _Unknown(Exception):  # noqa: N818 - told to the user as PJ402
    """An operator that hls4ml has no layer for."""


def restated(model: nn.Module, call: Call) -> fx.GraphModule:
    """`model` in eval mode as a chain of layers that hls4ml reads; batch norms are folded where they can be.

    Args:
        model: left as it was.
        call: the example inputs; the first dimension of each is the batch.

    Raises:
        PenjingError: PJ402, PyTorch does not export it, or hls4ml has no layer for one of its operators.
    """
    try:
        with exporting(model), quiet(), torch.no_grad():
            program = torch.export.export(model, call.args, call.kwargs, strict=False)
    except Exception as error:  # torch.export raises any type
        raise refused(model, own_words(error)) from error
    try:
        made = _Writer(program, call).write()
    except _Unknown as error:
        raise refused(model, str(error)) from error
    _fold_norms(made)
    return made.eval()


def refused(model: nn.Module, because: str) -> PenjingError:
    """PJ402."""
    return PenjingError(
        "PJ402",
        f"`{type(model).__name__}` has no hls4ml form",
        because=because,
        tries=["replace the operator that is named", "--device cpu, which runs ONNX"],
    )


class _Writer:
    """Writes the graph operator by operator."""

    def __init__(self, program: torch.export.ExportedProgram, call: Call) -> None:
        signature = program.graph_signature
        held = {**program.state_dict, **program.constants}
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        names |= signature.inputs_to_lifted_tensor_constants
        self._state = {node: (name, held[name].detach()) for node, name in names.items()}
        self._program, self._count = program, len(tensors(call))
        self._graph, self._root = fx.Graph(), nn.Module()
        self._values: dict[str, fx.Node] = {}
        self._positive: set[str] = set()  # operators whose values are never below zero

    def write(self) -> fx.GraphModule:
        inputs = 0
        for node in self._program.graph.nodes:
            if node.op == "placeholder" and node.name not in self._state:
                self._values[node.name] = self._graph.placeholder(f"given{inputs}")
                inputs += 1
            elif node.op == "call_function":
                self._operator(node)
            elif node.op == "output":
                self._output(node)
        if inputs != self._count:
            raise _Unknown("one of its inputs is no tensor")
        return fx.GraphModule(self._root, self._graph)

    def _output(self, node: fx.Node) -> None:
        found = [self._values[one.name] for one in node.args[0] if isinstance(one, fx.Node)]  # type: ignore[union-attr]
        if len(found) != 1:
            raise _Unknown(f"it has {len(found)} outputs, and hls4ml's reader takes one")
        self._graph.output(found[0])

    def _operator(self, node: fx.Node) -> None:
        name = str(node.target).removeprefix("aten.").split(".")[0].rstrip("_")
        given = _arguments(node)
        operands = [one for one in node.all_input_nodes if one.name not in self._state]
        if not operands:  # of parameters alone
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda one: self._state[one.name][1])
            assert callable(node.target)
            self._state[node.name] = (node.name, node.target(*args, **kwargs))
            return
        if name in _NEVER_NEGATIVE or self._keeps_sign(name, given, operands):
            self._positive.add(node.name)
        if name in _NOTHING:
            self._values[node.name] = self._values[operands[0].name]
            return
        if name in _MERGES and all(self._computed(one) for one in _merged_tensors(given)):
            self._values[node.name] = self._merged(name, given)
            return
        maker = LAYERS.get(name)
        if maker is None or len(operands) != 1:
            raise _Unknown(f"hls4ml has no layer for `{node.target}` ({node.name})")
        values = {key: self._value(value) for key, value in given.items()}
        values["positive"] = operands[0].name in self._positive
        layer = maker(values, operands[0].meta["val"])
        self._values[node.name] = self._placed(self._name(node, given), layer, operands[0])

    def _keeps_sign(self, name: str, given: Given, operands: Sequence[fx.Node]) -> bool:
        """Whether no value is below zero, since none of the operands' is."""
        merged = name in _MERGES
        if name not in _KEEP_SIGN or (merged and not all(map(self._computed, _merged_tensors(given)))):
            return False  # a constant may be negative
        return all(one.name in self._positive for one in operands)

    def _computed(self, value: Any) -> bool:
        return isinstance(value, fx.Node) and value.name not in self._state

    def _merged(self, name: str, given: Given) -> fx.Node:
        if given.get("alpha", 1) != 1:
            raise _Unknown("`add` with a factor (`alpha`)")
        if name == "cat":
            axis = given.get("dim", 0)
            parts = tuple(self._values[one.name] for one in given["tensors"])
            whole = parts[0]
            for part in parts[1:]:  # the reader takes two at a time
                whole = self._graph.call_function(torch.cat, ((whole, part),), {"dim": axis})
            return whole
        left, right = given["input"], given["other"]
        if left.meta["val"].shape != right.meta["val"].shape:
            raise _Unknown(f"`{name}` of two shapes")
        operands = (self._values[left.name], self._values[right.name])
        return self._graph.call_function(_MERGES[name], operands)

    def _placed(self, name: str, layer: nn.Module, operand: fx.Node) -> fx.Node:
        layers = layer if isinstance(layer, nn.Sequential) else (layer,)
        value = self._values[operand.name]
        for number, one in enumerate(layers):
            path = name if number == 0 else f"{name}_{number}"
            while hasattr(self._root, path):
                path += "_again"
            self._root.add_module(path, one)
            value = self._graph.call_module(path, (value,))
        return value

    def _name(self, node: fx.Node, given: Given) -> str:
        """The user's own name for what has weights, the operator's for what has none."""
        weight = given.get("weight")
        owned = self._state[weight.name][0].rsplit(".", 1)[0] if isinstance(weight, fx.Node) else node.name
        return "at_" + re.sub(r"\W", "_", owned)

    def _value(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self._state[value.name][1] if value.name in self._state else None
        return value


def _arguments(node: fx.Node) -> dict[str, Any]:
    """By schema name, defaults filled in."""
    assert callable(node.target)
    found = normalize_function(node.target, node.args, node.kwargs, normalize_to_only_use_kwargs=True)
    given = dict(found.kwargs) if found is not None else dict(node.kwargs)
    return {("input" if key == "self" else key): value for key, value in given.items()}


def _merged_tensors(given: Given) -> Sequence[Any]:
    return given["tensors"] if "tensors" in given else (given["input"], given["other"])


def _convolution(kind: type[nn.Conv1d] | type[nn.Conv2d]) -> Layer:
    def make(given: Given, x: Tensor) -> nn.Module:
        weight, bias = given["weight"], given.get("bias")
        if weight is None:
            raise _Unknown("a convolution whose kernel is computed")
        if set(_all(given.get("dilation", 1))) != {1}:
            raise _Unknown("a convolution with dilation")
        outs, ins, *taps = weight.shape
        groups = int(given.get("groups", 1))
        before, padding = _padding(given.get("padding", 0), taps)
        layer: nn.Module = kind(
            ins * groups, outs, tuple(taps), stride=_whole(given.get("stride", 1)), padding=padding,
            groups=groups, bias=bias is not None,
        )  # fmt: skip
        layer = _filled(layer, weight=weight, bias=bias)
        return layer if before is None else nn.Sequential(before, layer)

    return make


def _padding(given: Any, taps: list[int]) -> tuple[nn.Module | None, Any]:
    """A layer that pads where both ends get different amounts, and the padding of the convolution itself."""
    if given == "valid":
        return None, 0
    if given != "same":
        return None, _whole(given)
    if all(size % 2 for size in taps):
        return None, tuple(size // 2 for size in taps)
    ends = [side for size in reversed(taps) for side in ((size - 1) // 2, size // 2)]
    if len(taps) == 1:
        return nn.ConstantPad1d((ends[0], ends[1]), 0.0), 0
    return nn.ConstantPad2d((ends[0], ends[1], ends[2], ends[3]), 0.0), 0


def _linear(given: Given, x: Tensor) -> nn.Module:
    weight, bias = given["weight"], given.get("bias")
    if x.ndim != 2:
        raise _Unknown("a linear layer at several positions: only on (batch, features)")
    if weight is None:
        raise _Unknown("a product of two computed matrices")
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], bias is not None), weight=weight, bias=bias)


def _batch_norm(given: Given, x: Tensor) -> nn.Module:
    mean, variance = given["running_mean"], given["running_var"]
    if mean is None or variance is None or x.ndim not in (2, 3, 4):
        raise _Unknown("a batch norm without statistics")
    kind: type[nn.Module] = nn.BatchNorm2d if x.ndim == 4 else nn.BatchNorm1d
    made = kind(len(mean), eps=given["eps"])
    plain = {"weight": torch.ones_like(mean), "bias": torch.zeros_like(mean)}
    held = {key: given[key] if given.get(key) is not None else plain[key] for key in plain}
    return _filled(made, running_mean=mean, running_var=variance, **held)


def _affine(name: str) -> Layer:
    """A constant, or one for each channel, added or multiplied: what a batch norm does, too."""

    def make(given: Given, x: Tensor) -> nn.Module:
        channels, other = x.shape[1], given["other"]
        if other is None and name in ("add", "mul"):
            other = given["input"]  # the constant comes first
        if other is None:
            raise _Unknown(f"`{name}` of a constant by what is computed")
        shape = tuple(other.shape) if isinstance(other, Tensor) else ()
        ranked = len(shape) in (x.ndim - 1, x.ndim)
        each = ranked and shape[-x.ndim + 1 :][:1] == (channels,) and math.prod(shape) == channels
        if (math.prod(shape) != 1 and not each) or given.get("alpha", 1) != 1 or given.get("rounding_mode"):
            raise _Unknown(f"`{name}` with a constant of shape {shape}")
        value = torch.as_tensor(other, dtype=torch.float32).reshape(-1).expand(channels).clone()
        nothing, one = torch.zeros(channels), torch.ones(channels)
        scale = {"mul": value, "div": 1 / value}.get(name, one)
        shift = {"add": value, "sub": -value}.get(name, nothing)
        held = {"weight": scale, "bias": shift, "running_mean": nothing, "running_var": one, "eps": 0.0}
        return _batch_norm(held, x)

    return make


def _filled(layer: nn.Module, **held: Tensor | None) -> nn.Module:
    for name, value in held.items():
        if value is not None:
            getattr(layer, name).data.copy_(value)
    return layer.requires_grad_(False)


def _pooling(kinds: Mapping[int, Callable[..., nn.Module]]) -> Layer:
    """hls4ml streams no pooling that pads: zeros are put around before, where they change nothing."""

    def make(given: Given, x: Tensor) -> nn.Module:
        if set(_all(given.get("dilation", 1))) != {1} or given.get("ceil_mode"):
            raise _Unknown("a pooling with dilation or rounded up")
        if given.get("divisor_override") is not None:
            raise _Unknown("an average by a divisor of its own")
        size = _whole(given["kernel_size"])
        stride = _whole(given["stride"]) if given.get("stride") else size
        if _all(stride) != _all(size):
            raise _Unknown("a pooling whose windows overlap or leave gaps: its stride has to be its size")
        pool = kinds[x.ndim](size, stride)
        padding = _all(given.get("padding", 0))
        if not any(padding):
            return pool
        if isinstance(pool, nn.MaxPool1d | nn.MaxPool2d) and not given["positive"]:
            raise _Unknown("a max pooling with padding over values that may be negative")
        if not given.get("count_include_pad", True):
            raise _Unknown("an average pooling that leaves its padding out")
        if x.ndim == 3:
            return nn.Sequential(nn.ConstantPad1d(padding[0], 0.0), pool)
        height, width = padding if len(padding) == 2 else padding * 2
        return nn.Sequential(nn.ConstantPad2d((width, width, height, height), 0.0), pool)

    return make


def _whole_mean(given: Given, x: Tensor) -> nn.Module:
    """A mean over all positions, whether it is called so or a pooling to one."""
    size = given.get("output_size")
    if size is not None:
        if any(one != 1 for one in _all(size)):
            raise _Unknown("a pooling to more than one position")
        return _mean_pool(x)
    dims = {one % x.ndim for one in _all(given["dim"])}
    if dims != set(range(2, x.ndim)) or not dims:
        raise _Unknown("a mean over other dimensions than the positions")
    return _mean_pool(x) if given.get("keepdim") else nn.Sequential(_mean_pool(x), nn.Flatten())


def _mean_pool(x: Tensor) -> nn.Module:
    kind: type[nn.Module] = {3: nn.AvgPool1d, 4: nn.AvgPool2d}[x.ndim]
    return kind(tuple(x.shape[2:]) if x.ndim == 4 else int(x.shape[2]))


def _flatten(given: Given, x: Tensor) -> nn.Module:
    start, end = int(given.get("start_dim", 1)) % x.ndim, int(given.get("end_dim", -1)) % x.ndim
    if (start, end) != (1, x.ndim - 1):
        raise _Unknown("a flatten of some dimensions only")
    return nn.Flatten()


def _reshape(given: Given, x: Tensor) -> nn.Module:
    size = list(given.get("size", given.get("shape", ())))
    if len(size) != 2 or (size[0] not in (x.shape[0], -1)):
        raise _Unknown(f"a reshape to {size}: only to (batch, features)")
    return nn.Flatten()


def _softmax(given: Given, x: Tensor) -> nn.Module:
    if int(given["dim"]) % x.ndim != x.ndim - 1:
        raise _Unknown("a softmax over another dimension than the last")
    return nn.Softmax(dim=-1)


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _whole(value: Any) -> Any:
    """A list of the exported program as the tuple that a layer takes."""
    return tuple(value) if isinstance(value, list | tuple) else value


_NOTHING: Final = frozenset({"dropout", "alpha_dropout", "feature_dropout", "detach", "alias", "contiguous"})

_NEVER_NEGATIVE: Final = frozenset({"relu", "sigmoid", "softmax"})
_KEEP_SIGN: Final = frozenset(
    {"max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"}
    | {"mean", "flatten", "view", "reshape", "add", "mul", "cat", *_NOTHING}
)

_MERGES: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {"add": torch.add, "mul": torch.mul, "sub": torch.sub, "cat": torch.cat}
)

_MAX: Final = {3: nn.MaxPool1d, 4: nn.MaxPool2d}
_AVERAGE: Final = {3: nn.AvgPool1d, 4: nn.AvgPool2d}

LAYERS: Mapping[str, Layer] = MappingProxyType(
    {
        "conv1d": _convolution(nn.Conv1d),
        "conv2d": _convolution(nn.Conv2d),
        "linear": _linear,
        "batch_norm": _batch_norm,
        **{name: _affine(name) for name in ("add", "sub", "mul", "div")},
        "relu": lambda given, x: nn.ReLU(),
        "leaky_relu": lambda given, x: nn.LeakyReLU(float(given["negative_slope"])),
        "elu": lambda given, x: nn.ELU(float(given["alpha"])),
        "sigmoid": lambda given, x: nn.Sigmoid(),
        "tanh": lambda given, x: nn.Tanh(),
        "softmax": _softmax,
        "max_pool1d": _pooling(_MAX),
        "max_pool2d": _pooling(_MAX),
        "avg_pool1d": _pooling(_AVERAGE),
        "avg_pool2d": _pooling(_AVERAGE),
        "adaptive_avg_pool1d": _whole_mean,
        "adaptive_avg_pool2d": _whole_mean,
        "mean": _whole_mean,
        "flatten": _flatten,
        "view": _reshape,
        "reshape": _reshape,
    }
)
"""The layer that hls4ml knows, by operator."""


def _fold_norms(made: fx.GraphModule) -> None:
    """Batch norms into the convolution or linear layer before them, where nobody else reads in between."""
    layers = dict(made.named_modules())
    for node in list(made.graph.nodes):
        norm = layers.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        source = node.args[0]
        head = layers.get(str(source.target)) if source.op == "call_module" else None
        if len(source.users) != 1 or not isinstance(head, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        fuse = fuse_linear_bn_eval if isinstance(head, nn.Linear) else fuse_conv_bn_eval
        setattr(made, str(source.target), fuse(head.eval(), norm.eval()))  # type: ignore[type-var]
        node.replace_all_uses_with(source)
        made.graph.erase_node(node)
        made.delete_submodule(str(node.target))
        layers = dict(made.named_modules())
    made.recompile()
