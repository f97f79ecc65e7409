"""A device with its options as text: `hls4ml:bits=12,multipliers=128`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from penjing.errors import PenjingError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KINDS: Mapping[type, str] = MappingProxyType({int: "a whole number", float: "a number", str: "text"})
"""What an option may be, in words."""


def split(spec: str) -> tuple[str, dict[str, Any]]:
    """A name and its options: numbers where they read as such, else text.

    Raises:
        PenjingError: PJ406, an option has no value, or two.
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
        if key in options:
            raise PenjingError("PJ406", f"`{spec}` says twice what {key} is", tries=[f"{name}:{entry}"])
        options[key] = _value(value)
    return name, options


def check_kinds(kind: object, name: str, options: Mapping[str, object]) -> None:
    """Makes sure that options are numbers, whole numbers or text as the fields of a dataclass are.

    Args:
        kind: the device's class; whatever is no dataclass is not looked at.
        name: of the device.
        options: by name of the field; names that are no field are not looked at.

    Raises:
        PenjingError: PJ406, an option is of another kind.
    """
    usual = {field.name: field.default for field in fields(kind)} if _has_fields(kind) else {}
    for key in options.keys() & usual.keys():
        wanted, given = type(usual[key]), type(options[key])
        if wanted in KINDS and given is not wanted and (wanted, given) != (float, int):
            raise PenjingError(
                "PJ406",
                f"device `{name}` cannot have {key}={options[key]}",
                because=f"it takes {KINDS[wanted]} there",
                tries=[f"{name}:{key}={usual[key]}"],
            )
        if isinstance(options[key], str) and set(",=") & set(str(options[key])):
            raise PenjingError(
                "PJ406",
                f"device `{name}` cannot have {key}={options[key]}",
                because="in its name, commas and signs of equality part its options",
            )


def _has_fields(kind: object) -> TypeGuard[type[DataclassInstance]]:
    return isinstance(kind, type) and is_dataclass(kind)


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
            value = kind(text)
            if "_" not in text and math.isfinite(value):
                return value
    return text
