"""Mixup: samples of a batch blended with other samples of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing.errors import PenjingError
from penjing.network.batch import Batch


def mixed(model: nn.Module, batch: Batch, alpha: float) -> list[tuple[float, Batch]]:
    """`batch` blended with itself in another order, s * x + (1 - s) * x[order], s from Beta(alpha, alpha).

    Returns:
        The blended inputs twice: with the targets as they were, worth s, and with those in the other order,
        worth 1 - s. So any loss of (outputs, batch) can be mixed. Without targets, once.

    Raises:
        PenjingError: PJ313, the inputs are no real numbers, or tensors of a batch differ in their first size.

    Source: Zhang et al. 2017, arXiv:1710.09412, eq. 1; losses are mixed in the place of labels, which is the
    same for cross-entropy.
    """
    inputs, targets = batch.given, batch.targets
    if targets is not None:
        inputs = batch.given[0]
    tensors = [leaf for leaf in pytree.tree_leaves((inputs, targets)) if isinstance(leaf, Tensor)]
    blended = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    sizes = {tuple(tensor.shape[:1]) for tensor in tensors}
    if len(sizes) != 1 or () in sizes or not all(tensor.is_floating_point() for tensor in blended):
        shown = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors)
        raise PenjingError(
            "PJ313",
            f"FineTune(mixup={alpha:g}): batch {batch.number} cannot be mixed",
            because=f"samples of real numbers along one first dimension are needed, not {shown or 'none'}",
            tries=["mixup=0"],
        )
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(tensors[0].shape[0]).to(tensors[0].device)
    inputs = pytree.tree_map_only(Tensor, lambda x: share * x + (1 - share) * x[order], inputs)
    if targets is None:
        return [(1.0, Batch.read(model, inputs, batch.number, narrow=batch.narrow))]
    others = pytree.tree_map_only(Tensor, lambda y: y[order], targets)
    return [
        (part, Batch.read(model, (inputs, labels), batch.number, narrow=batch.narrow))
        for part, labels in ((share, targets), (1 - share, others))
    ]


def spoiled(batch: Any) -> str:
    """Which samples of a batch hold NaN or positive infinity; "" where none does.

    Negative infinity is let pass: masks of attention are made of it.
    """
    for tensor in pytree.tree_leaves(batch):
        if isinstance(tensor, Tensor) and tensor.is_floating_point():
            bad = tensor.isnan() | (tensor == float("inf"))
            if bool(bad.any()):
                rows = bad.flatten(1).any(1).nonzero().flatten().tolist() if tensor.ndim > 1 else []
                named = f" in samples {', '.join(map(str, rows[:5]))}" if rows else ""
                return f"a tensor of shape {tuple(tensor.shape)} holds NaN or infinity{named}"
    return ""
