"""The one error of penjing: a record that the exception, the command line and the report all render."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

_CODE: Final = re.compile(r"PJ[1-8][0-9]{2}")
_LABEL_WIDTH: Final = 9


class PenjingError(Exception):
    """Something the user can act on: what went wrong, because of what, where, and what to try.

    The first digit of a code tells the subject: 1 tracing and inputs, 2 axes, surgery and proof, 3 criteria
    and data, 4 devices, 5 plans and budgets, 6 run directories, 7 the command line and recipes. A code, once
    released, keeps its meaning; all of them are listed in `docs/reference/errors.md`.

    Example:
        >>> print(PenjingError("PJ203", "cannot cut `head`", because="it is an output", tries=["leave it"]))
        [PJ203] cannot cut `head`
          because  it is an output
          try      leave it

    Attributes:
        code: the stable code, such as `PJ203`.
        what: what could not be done, with the name that the user wrote and the sizes that matter.
        because: the reason; empty where `what` already says it.
        path: the chain of names that leads from the user's name to the reason.
        tries: ways out, the most likely one first.
    """

    code: str
    what: str
    because: str
    path: str
    tries: tuple[str, ...]

    def __init__(
        self, code: str, what: str, *, because: str = "", path: str = "", tries: Sequence[str] = ()
    ) -> None:
        """Keeps the parts as given; `str(error)` lays them out."""
        assert _CODE.fullmatch(code), f"{code!r} is no error code: PJ1xx to PJ8xx"
        assert what, f"{code} says nothing"
        assert not isinstance(tries, str), f"{code}: tries is a sequence of lines, not one string"
        super().__init__(code, what)
        self.code = code
        self.what = what
        self.because = because
        self.path = path
        self.tries = tuple(tries)

    def __str__(self) -> str:
        """A headline, then one labelled line for each part there is."""
        parts = [("because", self.because), ("path", self.path), *(("try", way) for way in self.tries)]
        return "\n".join([f"[{self.code}] {self.what}", *(_labelled(*part) for part in parts if part[1])])

    def __reduce__(self) -> tuple[Any, ...]:
        """Crosses process borders whole: the default would lose everything behind the headline."""
        return _from_record, (self.record(),)

    def record(self) -> dict[str, Any]:
        """The same parts as data, for `--json` and the report."""
        return {
            "code": self.code,
            "what": self.what,
            "because": self.because,
            "path": self.path,
            "tries": list(self.tries),
        }


def _labelled(label: str, text: str) -> str:
    """One part of the error, its further lines aligned under its first."""
    return f"  {label:<{_LABEL_WIDTH}}" + text.replace("\n", "\n" + " " * (2 + _LABEL_WIDTH))


def _from_record(record: dict[str, Any]) -> PenjingError:
    """The inverse of `PenjingError.record`."""
    return PenjingError(**record)
