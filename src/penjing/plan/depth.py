"""Depth as widths: a branch that is dropped is one whose switch keeps no unit."""

from __future__ import annotations

from penjing.network import Network
from penjing.plan.plan import Plan


def counts_of(net: Network, plan: Plan) -> dict[str, int]:
    """How many units each axis keeps that is not whole; none the switch of a branch that is dropped.

    Costs are asked so: an operator of a dropped branch costs nothing.
    """
    return {**plan.counts(), **{name: 0 for name in switched_off(net, plan)}}


def switched_off(net: Network, plan: Plan) -> list[str]:
    """Names of the axes that are the switches of dropped branches."""
    return [name for name, switch in net.switches.items() if switch.branch.name in plan.dropped]


def inside(net: Network, plan: Plan) -> frozenset[str]:
    """Names of the axes that may be cut and went with a dropped branch."""
    return frozenset(inner for name in switched_off(net, plan) for inner in net.switches[name].inner)
