"""Everything that is asked of one generated network, as one record."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from penjing.network import RULES, Axis, Network, trace
from penjing.network.op import Rule
from penjing.network.rules.convolution import PIXELS, TAPS
from penjing.surgery import cut
from penjing.surgery.graph import rewrite
from penjing.surgery.proof import Reference
from penjing.surgery.selection import Selection
from tests.equivalence.generated.cutting import (
    agrees,
    apart,
    half,
    outputs,
    slices,
    without,
    without_gradient,
    wrong_shapes,
    zeroed,
)
from tests.equivalence.generated.grow import Grown, grow
from tests.equivalence.generated.removal import Judge, Removal
from tests.equivalence.generated.replay import rerun
from tests.equivalence.generated.tape import record

BY_KIND = (PIXELS, TAPS, "gates are not units")
"""Reasons that name a kind of index which is no unit, whatever could be done with it."""


def by_kind(axis: Axis) -> bool:
    """Whether an axis is frozen because its indices are no units: taps, pixels, gates, or a single one."""
    return axis.frozen is not None and (axis.size == 1 or axis.frozen in BY_KIND)


_TRIED = 5


@dataclass
class Outcome:
    """What was found for one network.

    Attributes:
        seed: of the network.
        operators: how many penjing counts.
        axes: how many axes, kinds that are no units aside.
        prunable: how many may be cut.
        frozen: how many may not.
        kinds: how many are frozen for their kind.
        needless: frozen axes of which the judge can remove a unit: (name, size, reason, the judge's slice).
        units: single units removed by penjing and by the judge alike.
        masked: whether zeros in the original's weights could be compared.
        fallback: why the own module could not be used, or None.
        max_error: the largest figure of any proof.
        problems: everything that is wrong; empty if all is well.
        seconds: by part.
    """

    seed: int
    operators: int = 0
    axes: int = 0
    prunable: int = 0
    frozen: int = 0
    kinds: int = 0
    needless: list[tuple[str, int, str, str]] = field(default_factory=list)
    units: int = 0
    masked: bool = False
    fallback: str | None = None
    max_error: float = 0.0
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def examine(
    seed: int,
    *,
    singles: int = 2,
    need: bool = True,
    rules: Mapping[str, Rule] = RULES,
    grown: Grown | None = None,
) -> Outcome:
    """Grows network `seed` and checks it in every way.

    Args:
        seed: of the network and of all choices.
        singles: how many axes to remove one unit of, compared with the judge.
        need: whether to ask the judge about every frozen axis.
        rules: other rules than the shipped ones, to see them fail.
        grown: another network than the one that `seed` gives.
    """
    found = Outcome(seed)
    clock = time.perf_counter()

    def lap(part: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        found.seconds[part] = found.seconds.get(part, 0.0) + now - clock
        clock = now

    try:
        net_grown = grown or grow(seed)
        lap("grow")
        net = trace(net_grown.model, net_grown.inputs, rules=rules)
        lap("trace")
        _count(found, net)
        _cut_half(found, net_grown, net)
        lap("cut half")
        judge = None
        if singles or need:
            tape = record(net_grown.model, net_grown.inputs)
            judge = None if tape.aliased else Judge(tape)
        _cut_singles(found, net_grown, net, judge, singles)
        lap("single units")
        if judge and need:
            _judge_frozen(found, net, judge)
        lap("need")
    except Exception:  # whatever it is, it is a finding
        found.problems.append("crash: " + traceback.format_exc(limit=-6))
    return found


def _count(found: Outcome, net: Network) -> None:
    found.operators = len(net.operators)
    found.kinds = sum(by_kind(axis) for axis in net.axes)
    found.prunable = len(net.prunable)
    found.axes = len(net.axes) - found.kinds
    found.frozen = found.axes - found.prunable


def _cut_half(found: Outcome, grown: Grown, net: Network) -> None:
    """Half of every axis: proof in both forms, shapes, gradients; zeros in the original where they mask."""
    if not net.prunable:
        return
    plan = half(net, Random(grown.seed))
    made = cut(net, plan)
    found.fallback = made.fallback
    forms = {"cut": made.model}
    found.max_error = made.proof.max_error
    if made.fallback is None:
        selection = Selection(net, plan.kept)
        forms["graph"] = rewrite(net, selection).eval()
        proof = Reference(net, selection).check(forms["graph"])
        found.max_error = max(found.max_error, proof.max_error)
        if not proof.passed:
            found.problems.append(f"graph: proof fails by {proof.max_error:.1e}")
    if grown.maskable:
        found.masked = True
        wanted = outputs(zeroed(net.model, slices(net, dict(plan.kept))), grown.inputs)
    for form, model in forms.items():
        found.problems += [f"{form}: shape: {wrong}" for wrong in wrong_shapes(net, dict(plan.kept), model)]
        found.problems += [
            f"{form}: no gradient: {name}" for name in without_gradient(model, net.model, grown.inputs)
        ]
        if grown.maskable and not agrees(outputs(model, grown.inputs), wanted):
            error = apart(outputs(model, grown.inputs), wanted)
            found.problems.append(f"{form}: differs from the original with zeros by {error:.1e}")


def _cut_singles(found: Outcome, grown: Grown, net: Network, judge: Judge | None, many: int) -> None:
    """Single units, against the judge: the same slices of weights go, and the same function is left."""
    rng = Random(grown.seed)
    for axis in rng.sample(net.prunable, min(many, len(net.prunable))):
        unit = rng.randrange(axis.size)
        plan = without(axis, unit)
        selection = Selection(net, plan.kept)
        model = rewrite(net, selection).eval()
        proof = Reference(net, selection).check(model)
        found.max_error = max(found.max_error, proof.max_error)
        if not proof.passed:
            found.problems.append(f"unit {unit} of {axis.name}: proof fails by {proof.max_error:.1e}")
        if judge is None:
            continue
        claimed = {(name, dim, i) for (name, dim), gone in slices(net, dict(plan.kept)).items() for i in gone}
        removal = judge.removal({(judge.tape.parameters[name], dim, i) for name, dim, i in claimed})
        if isinstance(removal, str):
            found.problems.append(f"unit {unit} of {axis.name}: the judge finds no such removal: {removal}")
            continue
        found.units += 1
        more = removal.slices(judge.tape, set(judge.tape.parameters)) - claimed
        if more:
            found.problems.append(f"unit {unit} of {axis.name}: the judge also removes {sorted(more)}")
        elif not agrees(outputs(model, grown.inputs), rerun(judge.tape, removal.removed, removal.fits)):
            found.problems.append(f"unit {unit} of {axis.name}: differs from what the judge leaves")


def _judge_frozen(found: Outcome, net: Network, judge: Judge) -> None:
    """Asks the judge about every frozen axis; kinds that are no units aside."""
    free: dict[tuple[str, int], set[int]] = {}
    for axis in net.prunable:
        for member in axis.members:
            carried = free.setdefault((member.tensor, member.dim), set())
            carried.update(index for index, unit in enumerate(member.units) if unit >= 0)
    for axis in net.axes:
        if axis.frozen is None or by_kind(axis):
            continue
        could = removable(axis, judge, free)
        if could:
            found.needless.append((axis.name, axis.size, axis.frozen, could))


def removable(axis: Axis, judge: Judge, free: Mapping[tuple[str, int], set[int]]) -> str:
    """What the judge can remove of a frozen axis, or nothing.

    Units at both ends and some between are tried, each by all its indices in one tensor, and by a single one,
    unless an axis that may be cut goes through that index too (it could then go for the other axis' sake).
    """
    trained = [member for member in axis.members if member.tensor in judge.tape.parameters]
    if not trained:
        return ""
    member = min(trained, key=lambda m: len(m.units))
    value, dim = judge.tape.parameters[member.tensor], member.dim
    tried = (
        range(axis.size)
        if axis.size <= _TRIED
        else sorted({*range(0, axis.size, axis.size // (_TRIED - 1)), axis.size - 1})
    )
    for unit in tried:
        every = [index for index, one in enumerate(member.units) if one == unit]
        alone = [index for index in every if index not in free.get((member.tensor, dim), ())][:1]
        for indices in [every, alone] if alone and alone != every else [every]:
            removal = judge.removal({(value, dim, index) for index in indices})
            if isinstance(removal, Removal):
                return f"{member.tensor}[{', '.join([':'] * dim + [str(indices)])}]"
    return ""
