"""The recipe of a run: its options as TOML, to be kept beside the results and in git."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from penjing import recover
from penjing.criteria import Aggregate, Criterion, Normalise
from penjing.errors import PenjingError
from penjing.recover import Step
from penjing.run.iterative import Iterative
from penjing.run.job import Job


def _is_step(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Step) and found is not Step


DATA: Final = ("train", "validate", "batches")
"""Fields of recovery steps that hold data: named by the task that they come from, not written down."""

METHODS: Mapping[str, type[Step]] = MappingProxyType(
    {name: vars(recover)[name] for name in recover.__all__ if _is_step(vars(recover)[name])}
)
"""Every step of recovery that penjing makes public, by the name that a recipe gives it."""

_NOTHING: Final = "none"
"""Stands for None in a step, where something else is usual: TOML has no word for it."""


class Recipe(BaseModel):
    """What a job is asked to do, as it is written down.

    Attributes:
        model: where it comes from: `file.py:task`; from Python, the name of the module's class.
        budget: as in `pj.Budget.parse`.
        device: a name of `penjing devices`, or the path of a sheet.
        threads: of the device.
        criterion: a name of `penjing criteria`.
        aggregate: as in `pj.prune`.
        normalise: as in `pj.prune`.
        seed: of everything random.
        keep: as in `pj.prune`.
        only: as in `pj.prune`.
        recover: steps in order: `method`, the name of their class, and their options.
        exact: as in `pj.prune`.
        schedule: options of `pj.Iterative`; None for a single cut.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    budget: str
    device: str = "cpu"
    threads: int = 1
    criterion: str | None = None
    aggregate: Aggregate = "sum"
    normalise: Normalise | None = None
    seed: int = 0
    keep: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    recover: tuple[dict[str, Any], ...] = ()
    exact: dict[str, float | int] = {}
    schedule: dict[str, Any] | None = None
    depth: bool = False

    def steps(self, train: Iterable[Any] | None) -> list[Step]:
        """The steps of recovery, with the task's training data where they need some.

        Raises:
            PenjingError: PJ606, a step that there is not, or an option that it does not have; PJ313, an
                option out of range.
        """
        return [_read_step(step, train) for step in self.recover]

    def rounds(self, train: Iterable[Any] | None) -> Iterative | None:
        """The rounds to cut in, with the task's training data for steps that need some.

        Raises:
            PenjingError: PJ606, an option that there is not; PJ515, one out of range; else as `steps`.
        """
        if self.schedule is None:
            return None
        options = dict(self.schedule)
        if "recover" in options:
            steps = options["recover"]
            if not (isinstance(steps, list) and all(isinstance(step, dict) for step in steps)):
                raise PenjingError(
                    "PJ606", f"the recipe's schedule recovers by {steps!r:.60}: no list of steps"
                )
            options["recover"] = tuple(_read_step(step, train) for step in steps)
        odd = options.keys() - {option.name for option in fields(Iterative)}
        if odd:
            raise PenjingError("PJ606", f"the recipe gives the schedule an option `{odd.pop()}` it has not")
        return Iterative(**options)


def read_recipe(path: Path) -> Recipe:
    """A recipe from its file.

    Raises:
        PenjingError: PJ606, it is none.
    """
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        because = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError) as error:
        because = str(error)
    raise PenjingError("PJ606", f"`{path}` is no recipe", because=because)


def recipe_of(job: Job) -> str:
    """What a job was asked to do; models and data are named by the source they came from."""
    return to_toml(
        {
            "model": job.source,
            "budget": str(job.budget),
            "device": job.device.spec,
            "threads": job.device.record()["threads"],
            "criterion": job.criterion.record.name,
            "aggregate": job.aggregate,
            "normalise": job.normalise,
            "seed": job.seed,
            "keep": list(job.keep) or None,
            "only": None if job.only is None else list(job.only),
            "depth": job.depth or None,
            "recover": [_step(step) for step in job.recover] or None,
            "exact": dict(job.exact),
            "schedule": None if job.schedule is None else _schedule(job.schedule),
        }
    )


def _schedule(schedule: Iterative) -> dict[str, Any]:
    steps = schedule.steps
    given = {
        option.name: getattr(schedule, option.name) for option in fields(schedule) if option.name != "recover"
    }
    return {**given, **({} if steps is None else {"recover": [_step(step) for step in steps]})}


def _step(step: Step) -> dict[str, Any]:
    """A recovery step without its data."""
    return {"method": type(step).__name__, **options_of(step)}


def options_of(made: Any) -> dict[str, Any]:
    """What a step or a criterion was made with, but for data.

    Functions stand by their names, other objects by their types'. What usually is None is left out then.
    """
    found = {}
    for option in fields(made) if is_dataclass(made) else ():
        value = getattr(made, option.name)
        if option.name in DATA or (value is None and option.default is None):
            continue
        found[option.name] = _NOTHING if value is None else _plain(value)
    return found


def _read_step(record: Mapping[str, Any], train: Iterable[Any] | None) -> Step:
    kind = METHODS.get(str(record.get("method")))
    if kind is None:
        raise PenjingError(
            "PJ606",
            f"the recipe has a step of recovery `{record.get('method')}`, and there is none of that name",
            because=f"there are {', '.join(METHODS)}; others can only be given from Python",
        )
    assert is_dataclass(kind)
    known = {option.name: option for option in fields(kind)}
    options = {
        name: None if value == _NOTHING else value for name, value in record.items() if name != "method"
    }
    odd = [name for name in options if name not in known or name in DATA]
    if odd:
        raise PenjingError("PJ606", f"the recipe gives {record['method']} an option `{odd[0]}` it has not")
    needs_data = "train" in known and known["train"].default is MISSING
    if needs_data and train is None:
        raise PenjingError(
            "PJ311",
            f"{record['method']} has nothing to train with",
            because="the task has no training data",
            tries=["penjing.Task(..., train=batches)"],
        )
    try:
        return cast(Step, kind(**options, **({"train": train} if needs_data else {})))
    except TypeError as error:
        raise PenjingError(
            "PJ606", f"the recipe's {record['method']} lacks options", because=str(error)
        ) from error


def _plain(value: Any) -> Any:
    """`value` as TOML can say it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Criterion):  # one of several in another
        return {"criterion": value.record.name, **options_of(value)}
    return getattr(value, "__name__", type(value).__name__)


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
