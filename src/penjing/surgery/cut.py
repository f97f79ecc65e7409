"""From a plan to a smaller, proven module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from torch import nn

from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.source import where
from penjing.surgery.graph import rewrite
from penjing.surgery.module import Edits, cut_copy, plan_edits
from penjing.surgery.proof import Proof, Reference
from penjing.surgery.selection import Selection
from penjing.surgery.watch import Watch, watch


class Keeping(Protocol):
    """What surgery needs of a plan.

    Attributes:
        kept: axis name -> kept units, sorted; axes not named keep all.
        dropped: names of residual branches that are left out whole.
    """

    @property
    def kept(self) -> Mapping[str, Sequence[int]]:
        """Kept units by axis."""

    @property
    def dropped(self) -> Sequence[str]:
        """Branches left out."""


@dataclass(frozen=True)
class Cut:
    """A smaller model and what vouches for it.

    Attributes:
        model: of the user's own class, or (see `fallback`) the rewritten graph.
        fallback: None, or why the user's own code could not follow.
        record: enough to make the same cut on a fresh module; survives JSON.
        proof: the check against the masked original.
    """

    model: nn.Module
    fallback: str | None
    record: dict[str, Any]
    proof: Proof


def cut(net: Network, plan: Keeping) -> Cut:
    """Cuts a deep copy of the user's module to `plan`, and proves it.

    Where the user's code cannot follow, the rewritten graph is cut and proven instead.

    Raises:
        PenjingError: PJ201, an unknown axis; PJ202, units that the axis does not have, or none left; PJ203, a
            frozen axis; PJ204, nothing to compare with; PJ205, the proof failed for both forms; PJ208, an
            unknown branch.
    """
    check_plan(net, plan)
    selection = Selection(net, plan.kept, plan.dropped)
    reference = Reference(net, selection)
    try:
        model, proof, edits = _own_module(net, selection, reference)
        reason, form = None, {"form": "module", **asdict(edits)}
    except _CannotFollowError as refusal:
        reason, form = str(refusal), {"form": "graph"}
        model, proof = _graph(net, selection, reference)
    kept = {name: list(units) for name, units in plan.kept.items()}
    return Cut(model, reason, {**form, "kept": kept, "dropped": list(plan.dropped)}, proof)


class _CannotFollowError(Exception):
    """Why the user's own code cannot follow a cut."""


def _own_module(net: Network, selection: Selection, reference: Reference) -> tuple[nn.Module, Proof, Edits]:
    """The user's own module, cut."""
    if net.trace.specialised:
        raise _CannotFollowError(net.trace.specialised)
    try:
        seen = watch(net)
    except Exception as error:  # the user's code may raise anything
        raise _does_not_run(error) from error
    refused: _CannotFollowError | None = None
    for lean in (True, False) if selection.passed else (True,):
        for settle in (True, False):
            try:
                return _edited(net, selection, reference, seen, settle_disputes=settle, lean=lean)
            except _CannotFollowError as refusal:
                refused = refused or refusal
    assert refused is not None
    raise refused


def _edited(
    net: Network,
    selection: Selection,
    reference: Reference,
    seen: Watch,
    *,
    settle_disputes: bool,
    lean: bool,
) -> tuple[nn.Module, Proof, Edits]:
    try:
        edits, failed = plan_edits(net, selection, seen, settle_disputes=settle_disputes, lean=lean)
        model = cut_copy(net.model, edits)
        proof = reference.check(model)
    except Exception as error:  # the user's code may raise anything on sizes it does not expect
        raise _does_not_run(error) from error
    if not proof.passed:
        because = f"; it computes {failed[0].call} from sizes that cannot all fit" if failed else ""
        raise _CannotFollowError(f"its own code computes something else with the new sizes{because}")
    return model, proof, edits


def _does_not_run(error: Exception) -> _CannotFollowError:
    place, line = where(error), f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    whose = f"its own code ({place})" if place else "its own code"
    return _CannotFollowError(f"{whose} does not run with the new sizes ({line})")


def _graph(net: Network, selection: Selection, reference: Reference) -> tuple[nn.Module, Proof]:
    """The rewritten graph."""
    try:
        model = rewrite(net, selection).train(net.model.training)
        proof = reference.check(model)
    except Exception as error:
        raise _wrong("the cut graph does not run") from error
    if not proof.passed:
        raise _wrong(
            f"the cut model differs from the masked original by {proof.max_error:.1e} "
            f"(allowed: {proof.tolerance:.0e})"
        )
    return model, proof


def _wrong(what: str) -> PenjingError:
    return PenjingError(
        "PJ205",
        what,
        because="a rule of penjing ties dimensions wrongly for one of the operators; nothing is returned",
        tries=["report the model: this is a bug", "leave axes out with keep=[...] to find the operator"],
    )


def check_plan(net: Network, plan: Keeping) -> None:
    """Refuses a plan that names what cannot be cut."""
    for name, units in plan.kept.items():
        axis = net.axis(name)
        wrong = [unit for unit in units if not 0 <= unit < axis.size]
        if wrong or list(units) != sorted(set(units)) or not units:
            raise PenjingError(
                "PJ202",
                f"`{name}` has {axis.size} units, 0 to {axis.size - 1}; the plan keeps {list(units)[:8]}",
                because="kept units must be distinct, sorted, and at least one",
            )
        if axis.frozen is not None and len(units) < axis.size:
            raise PenjingError(
                "PJ203",
                f"cannot cut `{name}` ({axis.size} units)",
                because=axis.frozen,
                tries=[f'leave it out: keep=["{name}"]'],
            )
    selection = Selection(net, plan.kept)
    for node, op in net.solution.ops.items():
        if selection.clash(op):
            raise PenjingError(
                "PJ202",
                f"the plan makes two widths equal that `{node.name}` ({op.name}) tells apart by their sizes",
                because="a projection as wide as the hidden state is taken for none",
                tries=["keep one unit more, or less, of one of them"],
            )
