"""What a measurement of a module is of: its code, its structure, its state and how it is called."""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing.run.identity import state_hash

_PLAIN: Final = (bool, int, float, str, bytes, type(None))
_OWN: Final = frozenset(vars(nn.Module()))
"""What every module has: hooks, flags, the tables of its parts."""


def subject(model: nn.Module, example_inputs: Any) -> str | None:
    """A name for all that a profile of `model` follows from but the device; None where that cannot be told.

    Two modules of one name are traced, exported and timed alike: their classes' source files, and all source
    files of the program beside installed packages, have the same content; their parts, plain attributes and
    configurations are the same; so are their states, the example inputs, and the versions of penjing and
    torch.
    """
    found = hashlib.sha256()
    said: list[str] = [metadata.version("penjing"), torch.__version__, state_hash(model), *_program()]
    for name, part in model.named_modules():
        kind = type(part)
        source = _content(kind)
        if source is None or part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part):
            return None
        said += [name, kind.__module__, kind.__qualname__, source, str(part.training), part.extra_repr()]
        for attribute, value in sorted(vars(part).items()):
            written = None if attribute in _OWN else _written(value)
            if written is None and attribute not in _OWN:
                return None
            said += [attribute, written or ""]
    for leaf in pytree.tree_leaves(example_inputs):
        written = _written(leaf)
        if written is None:
            return None
        said.append(written)
    found.update("\0".join(said).encode())
    return found.hexdigest()[:24]


def _written(value: Any) -> str | None:
    """A value as text; None for one that cannot be told from another of its kind."""
    match value:
        case Tensor():
            plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(plain).hexdigest()}"
        case list() | tuple() | set() | frozenset() | dict():
            items = (
                sorted(map(repr, value)) if isinstance(value, set | frozenset) else pytree.tree_leaves(value)
            )
            parts = [_written(item) for item in items]
            keys = repr(list(value)) if isinstance(value, dict) and all(map(_plain, value)) else ""
            known = all(part is not None for part in parts) and (not isinstance(value, dict) or keys)
            return f"{type(value).__qualname__}{keys}{parts}" if known else None
        case torch.dtype() | torch.device() | torch.Size():
            return repr(value)
        case _ if _plain(value):
            return repr(value)
        case nn.Module():
            return type(value).__qualname__  # told where it stands among the parts
        case _ if inspect.isfunction(value) or inspect.isbuiltin(value) or inspect.isclass(value):
            return f"{value.__module__}.{value.__qualname__}" if "<" not in value.__qualname__ else None
        case _ if callable(getattr(value, "to_json_string", None)):  # a configuration of `transformers`
            return str(value.to_json_string())
        case _:
            return None


def _plain(value: Any) -> bool:
    return isinstance(value, _PLAIN)


def _content(kind: type) -> str | None:
    """Of the file that a class is written in; None where there is none."""
    try:
        path = inspect.getsourcefile(kind)
    except TypeError:  # made by a program
        return None
    return None if path is None or not Path(path).is_file() else _file(path, Path(path).stat().st_mtime_ns)


def _program() -> list[str]:
    """Of every source file in use that belongs to no installed package: a class calls functions of others."""
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = str(Path(__file__).parents[1])
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = [Path(file) for file in files if file and file.endswith(".py")]
    ours = sorted(path for path in paths if not str(path).startswith((*installed, own)) and path.is_file())
    return [_file(str(path), path.stat().st_mtime_ns) for path in ours]


@lru_cache(maxsize=4096)
def _file(path: str, changed: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
