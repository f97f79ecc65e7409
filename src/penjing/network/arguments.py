"""Operator names and arguments by schema."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from torch import fx
from torch._ops import OpOverload


class Slot(NamedTuple):
    """One argument of a schema. Reading it from torch anew for every node would take most of the time."""

    name: str
    kwarg_only: bool
    default: Any


@cache
def slots(target: OpOverload) -> tuple[Slot, ...]:
    """The arguments of an operator, in order."""
    return tuple(
        Slot(a.name, a.kwarg_only, a.default_value if a.has_default_value() else None)
        for a in target._schema.arguments
    )


@cache
def operator_name(target: Any) -> str:
    """`aten.add` for every overload of add, in place or not; the printed name for what has no schema."""
    if isinstance(target, OpOverload):
        namespace, name = target._schema.name.split("::")
        inplace = name.endswith("_") and not name.startswith("__") and not name.endswith("__")
        return f"{namespace}.{name[:-1] if inplace else name}"
    return getattr(target, "__name__", str(target))


def bind(node: fx.Node) -> dict[str, Any]:
    """Arguments of `node` by schema name, defaults filled in; by position where there is no schema."""
    if not isinstance(node.target, OpOverload):
        return {**{str(i): argument for i, argument in enumerate(node.args)}, **node.kwargs}
    bound: dict[str, Any] = {}
    args, kwargs = node.args, node.kwargs
    for position, (name, kwarg_only, default) in enumerate(slots(node.target)):
        if position < len(args) and not kwarg_only:
            bound[name] = args[position]
        else:
            bound[name] = kwargs.get(name, default)
    return bound


def rebind(node: fx.Node, changed: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of `node` with some of them changed, the others as they stand."""
    assert isinstance(node.target, OpOverload)
    args, kwargs = list(node.args), dict(node.kwargs)
    left = dict(changed)
    for position, argument in enumerate(slots(node.target)):
        if argument.name not in left:
            continue
        value = left.pop(argument.name)
        if position < len(args) and not argument.kwarg_only:
            args[position] = value
        else:
            kwargs[argument.name] = value
    assert not left, f"{node.target} has no argument {sorted(left)}"
    return tuple(args), kwargs
