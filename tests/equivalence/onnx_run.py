"""A module as ONNX Runtime computes it."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tests.zoo.entry import Inputs


def run_onnx(model: nn.Module, inputs: Inputs, path: Path) -> list[Tensor]:
    """Exports, loads and runs on `inputs`; the outputs flattened."""
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    # The exporter warns of its own deprecated parts, and stumbles over attention where gradients are on.
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(model, args, kwargs=kwargs, dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    names = [one.name for one in session.get_inputs()]
    if isinstance(inputs, dict):
        feed = {name: inputs[name].numpy() for name in names}
    else:
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    return [torch.as_tensor(one) for one in session.run(None, feed)]
