"""The kit that checks a rule: what it ties, against what its operator does."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from penjing.axes import leaves
from penjing.network import RULES, Network
from penjing.network.op import Rule
from penjing.surgery.proof import TOLERANCE
from penjing.surgery.selection import Selection
from penjing.testing.probe import Function, input_dims, network_of
from penjing.testing.reference import Difference, Masked, Reference
from penjing.testing.separable import separable

Units = dict[str, Sequence[int]]


class RuleFailure(AssertionError):  # noqa: N818 - a test that fails, not an error of the program
    """A rule says something of its operator that is not so."""


@dataclass(frozen=True)
class Conformance:
    """What a check found.

    Attributes:
        free: names of the axes that were cut.
        frozen: input dimension, as "tensor.dimension" -> why none of it may be cut; sizes above one only.
        operators: names of the operators that a rule vouched for.
        cuts: how many choices of kept units were compared.
        max_error: the largest difference, over the largest element of the outputs, in float64.
    """

    free: tuple[str, ...]
    frozen: Mapping[str, str]
    operators: frozenset[str]
    cuts: int
    max_error: float


def check_rule(
    function: Function,
    *tensors: torch.Tensor,
    rules: Mapping[str, Rule] = RULES,
    masked: Masked | None = None,
    frozen: str = "",
    limits: str = "",
    refuses: str = "",
    rounds: int = 3,
    seed: int = 0,
) -> Conformance:
    """Cuts random units of every axis that the rules leave free, and compares with the masked operator.

    The reference is the function itself at full size, with zeros in every input where units are gone. Where
    a rule declares that its operator normalises, the reference is `masked`, or else the function on what is
    left of its inputs, which must then not depend on the order of the units. The masked run, on which every
    later proof relies, is held to the same.

    Args:
        function: of `tensors`, to any structure of tensors; it is traced, and its operators are what is
            checked.
        tensors: small ones. Integer tensors are looked up by value; an index table that is a constant
            belongs into the function.
        rules: operator name -> rule.
        masked: (tensors, masks) -> the outputs at full size, where entries with a mask of False have no
            influence.
        frozen: the input dimensions of which nothing may be cut, as "tensor.dimension": "0.2 0.3 1.2".
        limits: those among the frozen that could be cut, were the algebra able to follow.
        refuses: part of the reason for which the rule does not take this call at all.
        rounds: how many random choices are compared, beside one unit of every axis alone.
        seed: of the choices.

    Returns:
        What was found.

    Raises:
        RuleFailure: a cut differs from the mask; a dimension is frozen and not listed, or listed and not
            frozen; one is frozen that perturbation shows to be separable, for no reason of kind ("... are
            not units").
    """
    net = network_of(function, tensors, rules)
    _expect_taken(net, refuses)
    found = _frozen_dims(net, len(tensors))
    if set(found) != set(frozen.split()):
        raise RuleFailure(f"frozen are {found or 'no dimensions'}; expected are {frozen.split() or 'none'}")
    wide = [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
    choices, chosen = _choices(net, rounds, random.Random(seed)), random.Random(seed)
    if not refuses:
        _expect_need(function, wide, found, limits.split())
    reference = Reference(net, function, wide, masked)
    worst = max((_compare(reference, kept) for kept in choices), default=0.0)
    if reference.by_what_is_left:
        _expect_any_order(reference, chosen)
    operators = frozenset(op.name for op in net.solution.ops.values())
    return Conformance(tuple(axis.name for axis in net.prunable), found, operators, len(choices), worst)


def _compare(reference: Reference, kept: Units) -> float:
    label = ", ".join(f"{name} keeps {list(units)}" for name, units in kept.items())
    try:
        apart = reference.compare(kept)
    except Difference as found:
        raise RuleFailure(f"{found}, where {label}") from found
    except (RuntimeError, IndexError, ValueError) as error:
        raise RuleFailure(f"it does not run ({error}), where {label}") from error
    if apart > TOLERANCE:
        raise RuleFailure(f"cut and mask differ by {apart:.1e}, where {label}")
    return apart


def _expect_any_order(reference: Reference, chosen: random.Random) -> None:
    """What is applied to whatever is left must not care about its order: that would make units positions."""
    try:
        apart = reference.shuffle(chosen)
    except Difference as found:
        raise RuleFailure(str(found)) from found
    if apart > TOLERANCE:
        raise RuleFailure(
            f"it is said to normalise, but depends on the order of the units (by {apart:.1e}): give `masked`"
        )


def _expect_taken(net: Network, refuses: str) -> None:
    reasons = list(net.solution.opaque.values())
    if refuses and not any(refuses in reason for reason in reasons):
        raise RuleFailure(f"nothing was refused because of {refuses!r}; opaque: {reasons}")
    if not refuses and reasons:
        raise RuleFailure("; ".join(reasons))


def _expect_need(
    function: Function, tensors: Sequence[torch.Tensor], frozen: Mapping[str, str], limits: list[str]
) -> None:
    """A dimension is frozen because it cannot be cut, or its indices are not units; a limit could be cut."""
    for name, reason in frozen.items():
        if "not units" in reason and name not in limits:
            continue
        tensor, dim = map(int, name.split("."))
        could = separable(function, tensors, (tensor, dim))
        if could and name not in limits:
            raise RuleFailure(f"{name} is frozen without need ({reason}): its indices are separable")
        if not could and name in limits:
            raise RuleFailure(f"{name} is called a limit, but nothing shows that its indices are separable")


def _frozen_dims(net: Network, count: int) -> dict[str, str]:
    """The dimensions of more than one index of which nothing may be cut, and why."""
    space = net.solution.space
    free = {atom for axis in net.prunable for atom in net.atoms_kept({axis.name: ()})}
    reasons = space.frozen()
    found = {}
    for tensor, dims in enumerate(input_dims(net, count)):
        for place, dim in enumerate(dims):
            atoms = leaves(space, dim)
            if space.size(dim) > 1 and free.isdisjoint(atoms):
                found[f"{tensor}.{place}"] = "; ".join(
                    dict.fromkeys(reasons.get(atom, "single units") for atom in atoms)
                )
    return found


def _choices(net: Network, rounds: int, chosen: random.Random) -> list[Units]:
    """One unit of every axis alone, then random units of all axes at once."""

    def some(size: int) -> list[int]:
        return sorted(chosen.sample(range(size), chosen.randint(1, size)))

    axes = net.prunable
    alone: list[Units] = [
        {axis.name: some(axis.size - 1) if axis.size > 2 else [chosen.randrange(2)]} for axis in axes
    ]
    together: list[Units] = [
        {axis.name: some(axis.size) for axis in axes} for _ in range(rounds if axes else 0)
    ]
    return [kept for kept in alone + together if _is_told_apart(net, kept)]


def _is_told_apart(net: Network, kept: Units) -> bool:
    selection = Selection(net, kept)
    return not any(selection.clash(op) for op in net.solution.ops.values())
