"""From a plan to a smaller, proven module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from torch import nn

from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.surgery.correct import Correction
from penjing.surgery.graph import rewrite
from penjing.surgery.module import Edits, apply_edits, cut_copy, plan_edits
from penjing.surgery.places import Place
from penjing.surgery.proof import Proof, Reference
from penjing.surgery.selection import Selection
from penjing.surgery.watch import watch


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
    reason, model, proof, edits = _own_module(net, selection, reference)
    if model is None or proof is None:
        model = rewrite(net, selection)
        model.train(net.model.training)
        proof = reference.check(model)
    if not proof.passed:
        raise PenjingError(
            "PJ205",
            f"the cut model differs from the masked original by {proof.max_error:.1e} "
            f"(allowed: {proof.tolerance:.0e})",
            because="a rule of penjing ties dimensions wrongly for one of the operators; nothing is returned",
            tries=["report the model: this is a bug", "leave axes out with keep=[...] to find the operator"],
        )
    kept = {name: list(units) for name, units in plan.kept.items()}
    record = {
        "form": "graph" if reason else "module",
        "kept": kept,
        "dropped": list(plan.dropped),
        **({} if reason else _portable(edits)),
    }
    return Cut(model, reason, record, proof)


def _own_module(
    net: Network, selection: Selection, reference: Reference
) -> tuple[str | None, nn.Module | None, Proof | None, Edits]:
    """The user's own module, cut; or why its code cannot follow."""
    edits = Edits()
    if net.trace.specialised or selection.passed:
        return (
            net.trace.specialised or "whole branches are left out, which its code would still run",
            None,
            None,
            edits,
        )
    try:
        edits, failed = plan_edits(net, selection, watch(net))
        model = cut_copy(net.model, edits)
        proof = reference.check(model)
    except Exception as error:  # the user's code may raise anything on sizes it does not expect
        return (
            f"the model's own code does not run with the new sizes ({type(error).__name__}: {error})",
            None,
            None,
            edits,
        )
    if not proof.passed:
        because = f"; it computes {failed[0].call} from sizes that cannot all fit" if failed else ""
        return f"the model's own code computes something else with the new sizes{because}", None, None, edits
    return None, model, proof, edits


def redo(record: Mapping[str, Any], model: nn.Module, example_inputs: Any = None) -> nn.Module:
    """Makes a recorded cut on a fresh module of the same architecture.

    Args:
        record: `Cut.record`, possibly through JSON.
        model: the module at its original size; where the cut was made on the module, it is changed in place.
        example_inputs: those of the cut; needed where the cut was made on the graph, which is traced again.

    Raises:
        PenjingError: PJ206, the module is not the one that the record was made for.
    """
    if record["form"] != "module":
        if example_inputs is None:
            raise PenjingError(
                "PJ206",
                "this cut was made on the traced graph, which needs example inputs to be traced again",
                tries=["give the example inputs that the model was cut with"],
            )
        net = trace(model, example_inputs)
        return rewrite(net, Selection(net, record["kept"], record["dropped"])).train(model.training)
    edits = Edits(
        {
            name: {int(dim): kept for dim, kept in by_dim.items()}
            for name, by_dim in record["tensors"].items()
        },
        [(path, attribute, value) for path, attribute, value in record["attributes"]],
        {path: [_correction(one) for one in found] for path, found in record["corrections"].items()},
        {at: [(tuple(path), value) for path, value in changed] for at, changed in record["settings"].items()},
        record["unsettled"],
    )
    try:
        return apply_edits(model, edits)
    except (AttributeError, IndexError, KeyError, RuntimeError) as error:
        raise PenjingError(
            "PJ206",
            f"the record does not fit `{type(model).__name__}`",
            because=f"{type(error).__name__}: {error}",
            tries=["let the factory build the architecture that was pruned, at its original size"],
        ) from error


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


def _correction(record: dict[str, Any]) -> Correction:
    """A correction as JSON gives it back."""
    return Correction(
        Place(**record["place"]),
        tuple((_tuples(path), value) for path, value in record["numbers"]),
        tuple((name, value) for name, value in record["named"]),
        None if record["pieces"] is None else tuple(record["pieces"]),
    )


def _tuples(path: Any) -> tuple[Any, ...]:
    return tuple(path)


def _portable(edits: Edits) -> dict[str, Any]:
    return asdict(edits)
