"""An error in one process ends all of them, each with a word on which it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from penjing.errors import PenjingError
from penjing.processes.group import Group, group

PEERS: Final = ("PJ340", "PJ341")
_LOOK_S: Final = 2.0

_depth = 0


@contextmanager
def together() -> Iterator[None]:
    """Around work that all processes do: where one of them fails, the others do not wait for it for ever.

    Also a decorator. The outermost one counts.

    Raises:
        PenjingError: PJ340, another process has failed; PJ341, one is lost; else what was raised inside.
        KeyboardInterrupt: this process or another one was stopped.
    """
    global _depth
    found = group() if not _depth else None
    _depth += 1
    try:
        yield
    except BaseException as error:
        if found is None:
            raise
        cause = _cause(found, error)
        found.board.tell_failure(_record(cause))
        if cause is error:
            raise
        raise cause from error
    finally:
        _depth -= 1


def _cause(found: Group, error: BaseException) -> BaseException:
    """What is to be raised in the place of an error: that another process is the reason, where one is."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PenjingError) and seen.code in PEERS:
            return seen
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, KeyboardInterrupt) or "onnection" in str(error) or "gloo" in str(error):
        return found.board.gone(_LOOK_S) or error
    return error


def _record(error: BaseException) -> dict[str, Any]:
    stopped = isinstance(error, KeyboardInterrupt)
    if isinstance(error, PenjingError):
        record = error.record()
        return {**record, "what": f"[{error.code}] {error.what}", "stopped": False}
    what = str(error) if stopped else f"{type(error).__name__}: {error}"
    return {"what": what, "because": "", "path": "", "tries": [], "stopped": stopped}
