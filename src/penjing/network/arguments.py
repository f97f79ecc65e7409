"""Operator names and arguments by schema."""

from __future__ import annotations

from typing import Any

from torch import fx
from torch._ops import OpOverload


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
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args) and not argument.kwarg_only:
            bound[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            bound[argument.name] = node.kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value if argument.has_default_value() else None
    return bound


def rebind(node: fx.Node, changed: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of `node` with some of them changed, the others as they stand."""
    assert isinstance(node.target, OpOverload)
    args, kwargs = list(node.args), dict(node.kwargs)
    left = dict(changed)
    for position, argument in enumerate(node.target._schema.arguments):
        if argument.name not in left:
            continue
        value = left.pop(argument.name)
        if position < len(args) and not argument.kwarg_only:
            args[position] = value
        else:
            kwargs[argument.name] = value
    assert not left, f"{node.target} has no argument {sorted(left)}"
    return tuple(args), kwargs
