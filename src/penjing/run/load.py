"""A run read back: the report, the module, the artifact."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

from pydantic import ValidationError
from torch import nn

from penjing.devices.form import Form
from penjing.errors import PenjingError
from penjing.report import Report
from penjing.run.directory import opened
from penjing.run.inputs import FILE, load_inputs
from penjing.run.state import load_state
from penjing.surgery import redo

FORMS: Final = MappingProxyType({form: f"model.{form}" for form in get_args(Form)})
"""What `export` gives, and the file of a run that holds it."""


def load(directory: Path | str, model_factory: Callable[[], nn.Module]) -> nn.Module:
    """The smaller module of a run, bit for bit.

    Args:
        directory: of the run.
        model_factory: builds the architecture that was pruned, at its original size; its weights do not
            matter.

    Returns:
        A module of the factory's own class, or the rewritten graph where the run had to fall back to it.

    Raises:
        PenjingError: PJ603, no run; PJ605 or PJ606, its files are damaged, or do not fit what the factory
            builds; PJ206 likewise.
    """
    folder = opened(directory, "surgery.json", "model.safetensors")
    record = read_json(folder / "surgery.json")
    fresh = model_factory()
    if not isinstance(fresh, nn.Module):
        raise PenjingError(
            "PJ606",
            f"the model factory gives a {type(fresh).__name__}",
            tries=["give a function without arguments that returns the module at its original size"],
        )
    # Where the module's own code could not follow the cut, its graph is traced and rewritten once more.
    inputs = load_inputs(opened(folder, FILE) / FILE) if record.get("form") == "graph" else None
    model = redo(record, fresh, inputs)
    load_state(model, folder / "model.safetensors")
    return model


def read_report(directory: Path | str) -> Report:
    """The report of a run.

    Raises:
        PenjingError: PJ603, no run; PJ606, its report is damaged or of another version of penjing.
    """
    path = opened(directory, "report.json") / "report.json"
    record = read_json(path)
    try:
        return Report.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PenjingError(
            "PJ606",
            f"`{path}` is no report that this version reads",
            because=f"schema {record.get('schema')}: {place}: {first['msg']}",
            tries=["read it with the version of penjing that wrote it"],
        ) from error


def export_from(directory: Path | str, to: str, output: Path | str | None = None) -> Path:
    """Copies the artifact out of a run.

    Args:
        directory: of the run.
        to: a key of `FORMS`.
        output: the file to write; None for one named after the run, beside it.

    Raises:
        PenjingError: PJ603, no run; PJ607, no such form, or the run has none of it; PJ602, it cannot be
            written.
    """
    if to not in FORMS:
        raise PenjingError("PJ607", f"there is no form `{to}`", tries=[f"--to {name}" for name in FORMS])
    folder = opened(directory, "report.json")
    source = folder / FORMS[to]
    if not source.is_file():
        raise PenjingError(
            "PJ607",
            f"`{folder}` holds no {FORMS[to]}",
            because="its device runs files of another form, or the model has none of this",
            tries=[f"--to {name}" for name in FORMS if name != to],
        )
    target = Path(output) if output else folder.absolute().parent / f"{folder.absolute().name}.{to}"
    partial = target.with_name(f".{target.name}.partial")
    try:
        for beside in (source, source.with_name(source.name + ".data")):  # weights beyond 2 GB lie beside
            if beside.is_file():
                shutil.copyfile(beside, partial)
                partial.replace(target if beside == source else target.with_name(beside.name))
    except OSError as error:
        raise PenjingError(
            "PJ602",
            f"`{target}` cannot be written",
            because=str(error),
            tries=["-o FILE, where you may write"],
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def read_json(path: Path) -> dict[str, Any]:
    """The record in a file of a run.

    Raises:
        PenjingError: PJ606, it is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PenjingError("PJ606", f"`{path}` is damaged", because=str(error)) from error
    if not isinstance(record, dict):
        raise PenjingError("PJ606", f"`{path}` is damaged", because="it holds no record")
    return record
