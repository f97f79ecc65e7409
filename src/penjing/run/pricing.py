"""What the planner is told that latency and memory will be."""

from __future__ import annotations

import numpy as np

from penjing.devices import CostModel, MemoryModel, Prices
from penjing.network import Network
from penjing.plan import Affine, Peak, Summed, Term, operators


def latency(net: Network, model: CostModel, scale: float) -> Summed:
    """A device's cost model, operator by operator, scaled to what the original was measured to take."""
    return operators(net, lambda operator, counts: scale * model.operator_ms(operator, counts))


def estimated(net: Network, estimate: Prices) -> dict[str, Affine]:
    """What a device estimates, by quantity, operator by operator."""

    def priced(quantity: str) -> Affine:
        parts = operators(
            net,
            lambda operator, counts: estimate.operator(quantity, operator, counts),
            vectorised=estimate.vectorised,
        )
        return Affine(parts, offset=estimate.constant(quantity))

    return {quantity: priced(quantity) for quantity in estimate.quantities}


def memory(model: MemoryModel) -> Peak:
    """`model.bytes_at`, tensor by tensor."""
    first, last = (np.array([getattr(held, end) for held in model.held]) for end in ("first", "last"))
    steps = np.arange(model.steps + 1)[:, None]
    terms = [Term(held.axes, held.bytes_at, vectorised=True) for held in model.held]
    return Peak(terms, (first <= steps) & (steps <= last))
