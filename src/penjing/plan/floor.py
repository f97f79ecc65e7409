"""The floor of a budget: the least that the user's figure of merit may come to."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final

from penjing.errors import PenjingError

METRIC: Final = "metric"
"""How a budget names the figure of merit, which it bounds from below: `metric>=0.92`."""

_AMOUNT: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(x?)", re.IGNORECASE)


@dataclass(frozen=True)
class Floor:
    """What the metric of the smaller network must not fall below.

    Attributes:
        value: the least metric, in the units of `evaluate`; or the share of the original's.
        relative: whether `value` is a share.
        text: as the user wrote it.
    """

    value: float
    relative: bool
    text: str = field(compare=False)

    @classmethod
    def parse(cls, amount: str | float) -> Floor:
        """Reads `0.92`, `"0.92"`, or `"0.99x"` of the original's metric.

        Raises:
            PenjingError: PJ502, it is no number, or a share that is not above zero.
        """
        text = str(amount).strip()
        match = None if isinstance(amount, bool) else _AMOUNT.fullmatch(text)
        value, relative = (float(match[1]), bool(match[2])) if match else (math.nan, False)
        if not math.isfinite(value) or (relative and value <= 0):
            raise PenjingError(
                "PJ502",
                f"`{METRIC}>={text}` is no floor",
                because="it is a number in the units of `evaluate`, or a share above zero of the original's",
                tries=[f"`{METRIC}>=0.92`", f"`{METRIC}>=0.99x`"],
            )
        return cls(value, relative, text)

    def limit(self, before: float) -> float:
        """The least metric that is allowed, where the original's is `before`."""
        return self.value * before if self.relative else self.value

    def __str__(self) -> str:
        return f"{METRIC}>={self.text}"
