"""`file.py:task`: where the command line finds a model and its data."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from penjing.api.task import Task
from penjing.errors import PenjingError
from penjing.network.refused import ACCEPTED, refused_source
from penjing.network.trace import where


def load_task(source: str) -> Task:
    """Runs the function that `source` names.

    Args:
        source: path of a Python file, a colon, and the name of a function without arguments, or of a `Task`.

    Raises:
        PenjingError: PJ105, a form of model that is not read; PJ701, there is no such file; PJ702, it does
            not run; PJ703, it holds nothing of that name, or the function fails or gives no `Task`.
    """
    file, colon, name = source.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise refused_source(source)
    path = Path(file)
    if not path.is_file():
        raise PenjingError("PJ701", f"there is no file `{path}`", tries=[f"give {ACCEPTED}"])
    module = _executed(path)
    found = vars(module).get(name)
    if found is None:
        own = [key for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
        near = get_close_matches(name, own, n=3, cutoff=0)
        raise PenjingError(
            "PJ703", f"`{path}` holds no `{name}`", tries=[f"{file}:{other}" for other in near]
        )
    if isinstance(found, Task):
        return found
    try:
        task = found()
    except PenjingError:
        raise
    except Exception as error:  # the user's own code: whatever it raises is reported with its place
        raise PenjingError(
            "PJ703", f"`{source}` fails", because=f"{type(error).__name__}: {error}", path=where(error)
        ) from error
    if not isinstance(task, Task):
        raise PenjingError(
            "PJ703",
            f"`{source}` gives a {type(task).__name__}",
            because="what belongs to the model has to come with it",
            tries=["return penjing.Task(model, example_inputs, train=..., loss=..., evaluate=...)"],
        )
    return task


def _executed(path: Path) -> ModuleType:
    """The file as a module; what lies beside it can be imported, as for `python file.py`."""
    name = f"_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # where dataclasses look up the annotations of a class
    try:
        spec.loader.exec_module(module)
    except PenjingError:
        raise
    except Exception as error:  # the user's own code
        raise PenjingError(
            "PJ702",
            f"`{path}` does not run",
            because=f"{type(error).__name__}: {error}",
            path=_place(error, path),
        ) from error
    return module


def _place(error: Exception, path: Path) -> str:
    """File and line: those of a syntax error stand in the error itself."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{error.filename}:{error.lineno}"
    return where(error)
