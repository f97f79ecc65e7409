"""Which atoms may not be cut, beyond what the rules froze themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import fx, nn

from penjing.axes import Dim
from penjing.network.solve import Solution
from penjing.network.trace import Trace

UNUSED = "no operator that depends on the inputs carries it"
UNREAD = "never read on the example inputs"
SINGLE = "a single unit"


def frozen_atoms(
    solution: Solution, trace: Trace, module: nn.Module, carried: Mapping[Dim, Sequence[tuple[str, int]]]
) -> dict[Dim, str]:
    """Every frozen atom and why."""
    space = solution.space
    _freeze_unread(solution, carried)
    _freeze_rebuilt(solution, trace, module)
    _freeze_following(solution)
    reasons = space.frozen()
    for atom in carried:
        if space.size(atom) <= 1:
            reasons.setdefault(atom, SINGLE)
    return reasons


def _freeze_unread(solution: Solution, carried: Mapping[Dim, Sequence[tuple[str, int]]]) -> None:
    """What no computation on the inputs carries cannot be judged: another input may need it."""
    space = solution.space
    active: set[Dim] = set()
    read: set[fx.Node] = set()
    for node, value in solution.values.items():
        if node.op == "call_function":
            read.update(node.all_input_nodes)
        if node in solution.dependent:
            for dims in value if isinstance(value, list) else [value]:
                for dim in dims or ():
                    active.update(solution.atoms(dim))
    resting = {a for op in solution.ops.values() for dim in op.resting for a in solution.atoms(dim)}
    used = active | {
        a
        for node in read
        for dims in [solution.values.get(node)]
        if isinstance(dims, tuple)
        for dim in dims
        for a in solution.atoms(dim)
    }
    for atom in carried:
        if atom not in used:
            space.freeze(atom, UNUSED)
        elif atom in resting and atom not in active:
            space.freeze(atom, UNREAD)


def _freeze_rebuilt(solution: Solution, trace: Trace, module: nn.Module) -> None:
    """A model that rebuilds itself from its config computes such buffers anew: they must stay.

    Applies where the class has `from_pretrained`; any other model is rebuilt by its own factory and cut
    again.
    """
    if not hasattr(type(module), "from_pretrained"):
        return
    kept = {*module.state_dict(keep_vars=True), *dict(module.named_parameters(remove_duplicate=False))}
    for node in trace.graph.nodes:
        name = trace.state.get(node.name) if node.op == "placeholder" else None
        if name is None or name in kept:
            continue
        for dim in solution.values[node] or ():
            assert isinstance(dim, int)
            solution.space.freeze(
                dim, f"carried by `{name}`, which the model computes anew when it is loaded"
            )


def _freeze_following(solution: Solution) -> None:
    """Padding is worth cutting only along an axis that is."""
    space = solution.space
    frozen = set(space.frozen())
    for op in solution.ops.values():
        for dim, other in op.following:
            if frozen.issuperset(solution.atoms(other)):
                space.freeze(dim, "padding of a frozen axis")
