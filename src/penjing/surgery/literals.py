"""Numbers written among the arguments of a call: where they stand, and how to replace them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[Any, ...]
"""Where a number stands: positions, names and slice fields from the outside in."""

_SLICE = ("start", "stop", "step")


def numbers(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every integer and float in nested arguments with its place, slices included; booleans are none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value
    elif isinstance(value, tuple | list):
        for place, entry in enumerate(value):
            yield from numbers(entry, (*path, place))
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from numbers(entry, (*path, name))
    elif isinstance(value, slice):
        for name in _SLICE:
            yield from numbers(getattr(value, name), (*path, name))


def replaced(value: Any, changes: Mapping[Path, Any], path: Path = ()) -> Any:
    """`value` with the numbers at the given places replaced."""
    if path in changes:
        return changes[path]
    if not any(place[: len(path)] == path for place in changes):
        return value
    if isinstance(value, tuple | list):
        entries = [replaced(entry, changes, (*path, place)) for place, entry in enumerate(value)]
        return entries if isinstance(value, list) else tuple(entries)
    if isinstance(value, dict):
        return {name: replaced(entry, changes, (*path, name)) for name, entry in value.items()}
    if isinstance(value, slice):
        return slice(*(replaced(getattr(value, name), changes, (*path, name)) for name in _SLICE))
    return value


def plain(value: Any) -> Any:
    """`value` with every integer of a special kind made an ordinary one."""
    changes = {
        path: int(number)
        for path, number in numbers(value)
        if type(number) is not int and isinstance(number, int)
    }
    return replaced(value, changes) if changes else value
