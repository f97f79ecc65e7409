"""How far a model's outputs are from the original's: what recovery without labels can judge itself by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from penjing.network.batch import Batch, kept_modes
from penjing.network.outputs import flatten


def deviation(model: nn.Module, original: nn.Module, batches: Iterable[Any]) -> float:
    """Squared difference of all real outputs over their spread about their mean; 0 for the same function.

    Both run in eval mode, draw the same random numbers where they draw any, and are left as they were. The
    mean of every output is taken over each batch. An output that is not finite makes it infinite.

    Raises:
        PenjingError: PJ310, a batch does not run through one of them.
    """
    apart = spread = 0.0
    with kept_modes(model, original), torch.no_grad():
        model.eval()
        original.eval()
        for number, given in enumerate(batches):
            batch = Batch.read(original, given, number)
            for mine, aim in zip(_run(batch, model), _run(batch, original), strict=True):
                if mine.shape != aim.shape:
                    return math.inf
                about = aim.mean(0, keepdim=True) if aim.ndim and len(aim) > 1 else torch.zeros_like(aim)
                apart += float((mine - aim).square().sum())
                spread += float((aim - about).square().sum())
    found = apart / spread if spread else apart
    return found if math.isfinite(found) else math.inf


def _run(batch: Batch, model: nn.Module) -> list[Tensor]:
    """The real outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        leaves, _ = flatten(batch.run(model))
    return [leaf.double() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
