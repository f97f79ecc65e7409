"""Where in somebody's Python code a call stands, such that it is found again when the code is loaded anew."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType

from torch import nn

_SKIPPED = (
    "penjing/surgery/",
    "torch/overrides.py",
    "torch/functional.py",
    "torch/nn/functional.py",
    "torch/_tensor.py",
    "torch/utils/",
)


@dataclass(frozen=True)
class Place:
    """A call in somebody's Python code. Lines may be added above it; what it says may not change.

    Attributes:
        function: name of the torch function that is called.
        code: name of the Python function that calls it.
        text: the call as it is written; spaces, line ends and comments aside.
        occurrence: which call of this text, counted within one call of the `nn.Module`.
        module: name of the Python module of that function; only says where to look for its source.
    """

    function: str
    code: str
    text: str
    occurrence: int = 0
    module: str = field(default="", compare=False)


def caller(function: str) -> tuple[Place, FrameType]:
    """The place of the call that is being handled, outside of torch's own dispatching code; and its frame."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None and _is_dispatch(frame.f_code.co_filename):
        frame = frame.f_back
    assert frame is not None
    module = frame.f_globals.get("__name__", "")
    return Place(function, frame.f_code.co_name, _text(frame), module=module), frame


def within(frame: FrameType, outer: CodeType, owner: object) -> bool:
    """Whether `frame` runs in the call of `outer` by `owner`, and in no other module's call inside of it."""
    at: FrameType | None = frame
    while at is not None and at.f_code is not nn.Module._call_impl.__code__:
        if at.f_code is outer and at.f_locals.get("self") is owner:
            return True
        at = at.f_back
    return False


def is_written(place: Place, module: nn.Module) -> bool:
    """Whether the code of `module` still has the call; True where its source cannot be read."""
    files = {code.co_filename for code in _codes(type(module))}
    files.add(getattr(sys.modules.get(place.module), "__file__", None) or "")
    bodies = [body for file in files for body in _bodies(file, place.code)]
    return not bodies or any(place.text in body for body in bodies)


def _codes(kind: type) -> Iterator[CodeType]:
    for base in kind.__mro__:
        if base is not nn.Module:
            yield from (value.__code__ for value in vars(base).values() if inspect.isfunction(value))


@lru_cache(maxsize=64)
def _bodies(file: str, name: str) -> tuple[str, ...]:
    """Every function called `name` in a file; for a lambda or a comprehension, the whole file."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:  # no Python file
        return ()
    if name.startswith("<"):
        return (ast.unparse(tree),) if tree.body else ()
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return tuple(ast.unparse(node) for node in functions if node.name == name)


def _text(frame: FrameType) -> str:
    """The expression that `frame` is evaluating: its line, where Python was told to forget positions."""
    return (
        _expression(frame.f_code, frame.f_lasti)
        or linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    )


@lru_cache(maxsize=4096)
def _expression(code: CodeType, at: int) -> str | None:
    first, last, start, end = next(islice(code.co_positions(), at // 2, None))
    if first is None or last is None:
        return None
    lines = [linecache.getline(code.co_filename, line).encode() for line in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    text = b"".join(lines).decode()
    try:
        return ast.unparse(ast.parse(f"({text}\n)", mode="eval"))
    except SyntaxError:  # a part of a statement that is no expression
        return " ".join(text.split())


def _is_dispatch(file: str) -> bool:
    file = file.replace("\\", "/")
    return any(part in file for part in _SKIPPED)
