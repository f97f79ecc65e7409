"""What callbacks ask of whatever sparsifies a network while it is trained."""

from __future__ import annotations

from typing import Any, Protocol

from torch.optim import Optimizer


class Driver(Protocol):
    """`penjing.compress.masks` has some; another needs no more than this.

    Attributes:
        optimizer: whose memory of weights that are gone is cleared; None before it is known.
    """

    optimizer: Optimizer | None

    def step(self) -> bool:
        """After a step of the optimizer, before its gradients are cleared: whether masks have changed."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """`masks`, by name, and plain values that survive JSON."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        ...
