"""Patterns by what they are written as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from penjing.compress.masks.block import Block, Columns, Kernels, Rows
from penjing.compress.masks.nm import NM
from penjing.compress.masks.pattern import Pattern, Unstructured
from penjing.errors import PenjingError

PATTERNS: Mapping[str, Pattern] = MappingProxyType(
    {"unstructured": Unstructured(), "rows": Rows(), "columns": Columns(), "kernels": Kernels()}
)
"""Those that are called by one word; besides there are `2:4` and the like, and `4x4` and the like."""


def pattern_named(given: Pattern | str) -> Pattern:
    """The pattern that is written so; one that is no text is handed back.

    Args:
        given: a key of `PATTERNS`, `n:m`, or sizes of a block such as `1x4`.

    Raises:
        PenjingError: PJ811, there is none.
    """
    if isinstance(given, Pattern):
        return given
    if given in PATTERNS:
        return PATTERNS[given]
    if found := re.fullmatch(r"(\d+):(\d+)", given):
        return NM(int(found[1]), int(found[2]))
    if re.fullmatch(r"\d+(x\d+)+", given):
        return Block(tuple(int(size) for size in given.split("x")))
    raise PenjingError(
        "PJ811",
        f"there is no pattern `{given}`",
        tries=[*(f"`{name}`" for name in PATTERNS), "`2:4`, or other numbers", "`4x4`, or other sizes"],
    )
