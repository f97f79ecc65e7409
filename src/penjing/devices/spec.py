"""A device with its options as text: `hls4ml:bits=12,multipliers=128`."""

from __future__ import annotations

import contextlib
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from penjing.errors import PenjingError


def split(spec: str) -> tuple[str, dict[str, Any]]:
    """A name and its options: numbers where they read as such, else text.

    Raises:
        PenjingError: PJ406, an option has no value.
    """
    name, _, text = spec.partition(":")
    options: dict[str, Any] = {}
    for entry in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not (key and equals and value):
            raise PenjingError(
                "PJ406",
                f"`{entry}` in `{spec}` is no option of a device",
                because="an option is `name=value`",
                tries=[f"{name}:bits=12,multipliers=128"],
            )
        options[key] = _value(value)
    return name, options


def joined(name: str, device: Any) -> str:
    """The inverse, of a device whose options are the fields of a dataclass; usual values are left out.

    Threads are, too: they are kept beside the name wherever it is kept.
    """
    assert is_dataclass(device)
    options = {
        field.name: getattr(device, field.name)
        for field in fields(device)
        if field.name != "threads" and field.default is not MISSING
    }
    usual = {field.name: field.default for field in fields(device)}
    changed = [f"{key}={value}" for key, value in options.items() if value != usual[key]]
    return f"{name}:{','.join(changed)}" if changed else name


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
