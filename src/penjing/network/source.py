"""Where in the user's code something happened."""

from __future__ import annotations

import inspect
import linecache
import sys
import sysconfig
from pathlib import Path
from types import FrameType, TracebackType

import torch
from torch import nn

_INSTALLED = ("/site-packages/", "/dist-packages/")
_INNER = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parents[1]}/", "<string>", "<eval_with_key>")
_PYTHON = f"{sysconfig.get_paths()['stdlib']}/"


def where(error: BaseException, model: nn.Module | None = None) -> str:
    """File and line in the user's code at which `error` arose: the last frame outside of torch and penjing.

    Where no frame is the user's, the place at which the `forward` of `model` is defined, if one is given.
    """
    own = ""
    at: TracebackType | None = error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if is_users(file):
            own = f"{file}:{at.tb_lineno}"
        at = at.tb_next
    return own or (defined(model) if model is not None else "")


def is_users(file: str) -> bool:
    """Whether a source file is neither torch's, nor penjing's, nor of Python's own library."""
    installed = any(part in file for part in _INSTALLED)
    return not file.startswith(_INNER) and (installed or not file.startswith(_PYTHON))


def defined(model: nn.Module) -> str:
    """File and line at which the `forward` of `model` is defined."""
    code = getattr(inspect.unwrap(model.forward), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else type(model).__qualname__


def here() -> str:
    """File and line of the user's code that is running now, "" where it is none."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def text(place: str) -> str:
    """The line of source code at a place that the functions above gave."""
    file, _, line = place.rpartition(":")
    return linecache.getline(file, int(line)).strip() if line.isdigit() else ""
