"""Drawing a class-balanced part of a set of labelled images."""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.errors import PenjingError


def balanced(labels: Tensor, per_class: int, *, seed: int) -> Tensor:
    """Draws `per_class` indices of every class, without repetition.

    Args:
        labels: int64 [n].
        per_class: how many of each class that occurs.
        seed: the same seed draws the same indices.

    Returns:
        int64 indices, ascending.

    Raises:
        PenjingError: PJ357 if a class has fewer than `per_class` members.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Tensor] = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        if len(members) < per_class:
            raise PenjingError(
                "PJ357",
                f"cannot draw {per_class} images of class {label}",
                because=f"there are {len(members)}",
            )
        drawn.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    return torch.cat(drawn).sort().values
