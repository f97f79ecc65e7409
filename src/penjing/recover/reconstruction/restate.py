"""A batch norm told of other inputs: new statistics, and scale and shift such that the function stays."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from penjing.network.arguments import bind
from penjing.network.program import Trace
from penjing.network.solve import tensor_named

_LEAST_VARIANCE = 1e-3
"""Of the stored variance: a channel that varies by less keeps the stored one."""


def restate(
    norm: fx.Node, trace: Trace, model: nn.Module, mean: Tensor, variance: Tensor, offset: Tensor
) -> None:
    """Gives a batch norm the statistics of its inputs, and changes its scale and shift to fit.

    In eval mode it gives for `x` what it gave for `x + offset`; in training mode, the same on inputs of these
    statistics. One without scale and shift keeps its statistics but for the offset.

    Args:
        norm: an operator `aten.batch_norm`.
        trace: the graph.
        model: whose tensors are changed.
        mean: of its inputs, float64 [channels].
        variance: of its inputs, float64 [channels].
        offset: float64 [channels].
    """
    arguments = bind(norm)

    def held(name: str) -> Tensor | None:
        node = arguments[name]
        return tensor_named(model, trace.state[node.name]) if isinstance(node, fx.Node) else None

    stored_mean, stored_variance = held("running_mean"), held("running_var")
    scale, shift, eps = held("weight"), held("bias"), float(arguments["eps"])
    assert stored_mean is not None
    assert stored_variance is not None
    if scale is None or shift is None:
        stored_mean.sub_(offset.to(stored_mean.dtype))
        return
    old_mean, old_variance, old_scale = stored_mean.double(), stored_variance.double(), scale.double()
    new_variance = torch.where(variance > _LEAST_VARIANCE * old_variance, variance, old_variance)
    shift.add_((old_scale * (mean + offset - old_mean) * (old_variance + eps).rsqrt()).to(shift.dtype))
    scale.mul_(((new_variance + eps) / (old_variance + eps)).sqrt().to(scale.dtype))
    stored_mean.copy_(mean)
    stored_variance.copy_(new_variance)
