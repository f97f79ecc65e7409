"""An operator graph and where its inputs come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx
from torch.utils import _pytree as pytree


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
