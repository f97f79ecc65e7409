"""The recipe of a run: its options as TOML, to be kept beside the results and in git."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from penjing.recover import Step
from penjing.run.job import Job

_DATA: Final = ("train", "batches")


def recipe_of(job: Job) -> str:
    """What a job was asked to do; models and data are named by the source they came from."""
    return to_toml(
        {
            "model": job.source,
            "budget": str(job.budget),
            "device": job.device.record()["name"],
            "threads": job.device.record()["threads"],
            "criterion": job.criterion.record.name,
            "aggregate": job.aggregate,
            "normalise": job.normalise,
            "seed": job.seed,
            "keep": list(job.keep) or None,
            "only": None if job.only is None else list(job.only),
            "recover": [_step(step) for step in job.recover] or None,
            "exact": dict(job.exact),
        }
    )


def _step(step: Step) -> dict[str, Any]:
    """A recovery step without its data; functions by their names."""
    assert is_dataclass(step)
    options = {field.name: getattr(step, field.name) for field in fields(step) if field.name not in _DATA}
    plain = {name: value.__name__ if callable(value) else value for name, value in options.items()}
    return {"method": type(step).__name__, **plain}


def to_toml(values: Mapping[str, Any]) -> str:
    """Plain values, lists and one level of tables as TOML; None is left out, for TOML has no word for it.

    Strings are written as JSON does: every JSON string of printable text is a basic string of TOML, but that
    JSON leaves DEL as it is and TOML does not.
    """
    plain = {name: value for name, value in values.items() if value is not None}
    lines = [
        f"{_key(name)} = {_value(value)}" for name, value in plain.items() if not isinstance(value, Mapping)
    ]
    for name, table in plain.items():
        if isinstance(table, Mapping) and table:
            entries = {key: value for key, value in table.items() if value is not None}
            lines += [
                "",
                f"[{_key(name)}]",
                *(f"{_key(key)} = {_value(value)}" for key, value in entries.items()),
            ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    bare = name and name.replace("_", "").replace("-", "").isalnum() and name.isascii()
    return name if bare else _string(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        entries = (f"{_key(key)} = {_value(entry)}" for key, entry in value.items() if entry is not None)
        return f"{{ {', '.join(entries)} }}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
