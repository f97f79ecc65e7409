"""Whether any operator of a smaller network takes longer than it took in the original."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penjing.devices.measuring import Measuring
from penjing.devices.nodes import NodeTime
from penjing.network import Call

ROUNDS: Final = 3
"""So often each of the two is profiled, in turns."""

SECONDS: Final = 0.15
"""For each profile."""

SHARE: Final = 0.01
"""Of the original's time: an operator, or a difference, below this is not looked at."""


@dataclass(frozen=True)
class Slower:
    """An operator that takes longer.

    Attributes:
        name: as the runtime has it.
        kind: e.g. `Conv`.
        before_ms: the longest that it took in the original.
        after_ms: the shortest that it takes now.
    """

    name: str
    kind: str
    before_ms: float
    after_ms: float


@dataclass(frozen=True)
class OperatorCheck:
    """Two networks, operator by operator.

    Attributes:
        slower: those that take longer, beyond noise.
        compared: how many are in both by name.
        noise: the largest relative difference of an operator of the original from itself, between profiles.
        added_ms: what operators take that the runtime put in and the original has not: changes of layout.
    """

    slower: tuple[Slower, ...]
    compared: int
    noise: float
    added_ms: float


def check_operators(
    device: Measuring, before: Path, after: Path, call: Call | None = None
) -> OperatorCheck | None:
    """Profiles both in turns.

    An operator is slower where its shortest time now is above its longest in the original by more than
    `SHARE` of the original's whole time. None where the device tells no times of operators.

    Raises:
        PenjingError: PJ404 or PJ405, as `device.profile`.
    """
    found: dict[Path, list[dict[str, NodeTime]]] = {before: [], after: []}
    for _ in range(ROUNDS):
        for path, profiles in found.items():
            nodes = device.profile(path, call=call, seconds=SECONDS)
            if not nodes:
                return None
            profiles.append({node.name: node for node in nodes})
    old, new = found[before], found[after]
    whole = min(sum(node.ms for node in profile.values()) for profile in old)
    slower, noise, compared, added = [], 0.0, 0, 0.0
    for name, node in new[0].items():
        now = [profile[name].ms for profile in new if name in profile]
        then = [profile[name].ms for profile in old if name in profile]
        if not then:
            added += min(now)
            continue
        compared += 1
        if min(then) > SHARE * whole:
            noise = max(noise, max(then) / min(then) - 1)
        if min(now) > max(then) + SHARE * whole:
            slower.append(Slower(name, node.kind, max(then), min(now)))
    return OperatorCheck(tuple(slower), compared, noise, added)


def said(check: OperatorCheck) -> str:
    """The outcome in a line."""
    noise = f"{check.compared} compared, timing noise {check.noise:.0%}"
    added = f"; changes of layout take {check.added_ms:.3g} ms" if check.added_ms else ""
    if not check.slower:
        return f"no operator takes longer than in the original ({noise}){added}"
    listed = ", ".join(
        f"`{one.name}` ({one.kind}, {one.before_ms:.3g} -> {one.after_ms:.3g} ms)" for one in check.slower[:4]
    )
    more = f" and {len(check.slower) - 4} more" if len(check.slower) > 4 else ""
    return f"slower than in the original: {listed}{more} ({noise}){added}"
