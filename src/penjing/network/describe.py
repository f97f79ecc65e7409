"""A network as text."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penjing.network.network import Network


def describe(net: Network) -> str:
    """Operators, parameters, macs, axes, frozen ones and why."""
    lines = [
        f"{type(net.model).__name__}: {len(net.operators)} operators, "
        f"{net.parameters:,} parameters, {net.macs:,} macs",
        f"{len(net.prunable)} {'axis' if len(net.prunable) == 1 else 'axes'} can be cut, "
        f"through {net.coverage:.1%} of the parameters",
    ]
    if net.trace.specialised:
        lines.append(f"specialised to the example inputs: {net.trace.specialised}")
    width = max((len(axis.name) for axis in net.prunable), default=0)
    for axis in net.prunable:
        tensors = list(dict.fromkeys(member.tensor for member in axis.members))
        shown = ", ".join(tensors[:3]) + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")
        lines.append(f"  {axis.name:<{width}}  {axis.size:>6}  {shown}")
    reasons: dict[str, list[str]] = defaultdict(list)
    for axis in net.axes:
        if axis.frozen is not None:
            reasons[axis.frozen].append(f"{axis.name} ({axis.size})")
    if reasons:
        lines.append("frozen")
    for reason, names in reasons.items():
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        lines.append(f"  {reason}: {', '.join(names[:4])}{more}")
    lines += [f"opaque  {name}" for name in net.opaque]
    return "\n".join(lines)
