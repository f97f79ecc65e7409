"""Outputs of a model as a flat list of leaves: dataclasses that torch's pytrees do not know are opened, too.

Registering a user's class with torch would change how all other code of the process sees it. So an
instance is put into a box of our own, registered here once; unflattening gives back the user's class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from torch.utils import _pytree as pytree

Context = tuple[type, tuple[str, ...]]


class Box:
    """Holds one dataclass instance while its fields are flattened."""

    def __init__(self, held: Any) -> None:
        """Takes what is to be opened."""
        self.held = held


def flatten(outputs: Any) -> tuple[list[Any], pytree.TreeSpec]:
    """Leaves of `outputs` and their structure; `pytree.tree_unflatten` gives the same classes again."""
    return pytree.tree_flatten(boxed(outputs))


def boxed(outputs: Any) -> Any:
    """`outputs` with every dataclass instance that torch does not know in a `Box`."""
    return pytree.tree_map(lambda leaf: Box(leaf) if _opens(leaf) else leaf, outputs)


def _opens(leaf: Any) -> bool:
    return is_dataclass(leaf) and not isinstance(leaf, type)


def _open(box: Box) -> tuple[list[Any], Context]:
    names = tuple(field.name for field in fields(box.held) if hasattr(box.held, field.name))
    return [boxed(getattr(box.held, name)) for name in names], (type(box.held), names)


def _open_with_keys(box: Box) -> tuple[list[tuple[pytree.KeyEntry, Any]], Context]:
    values, context = _open(box)
    return [(pytree.GetAttrKey(name), value) for name, value in zip(context[1], values, strict=True)], context


def _close(values: Iterable[Any], context: Context) -> Any:
    """The user's class again, its fields as they were; its own `__init__` has had its say before."""
    kind, names = context
    made: Any = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made


pytree.register_pytree_node(Box, _open, _close, flatten_with_keys_fn=_open_with_keys)
