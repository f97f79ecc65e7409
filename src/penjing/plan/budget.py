"""Budgets: bounds on measurable quantities, parsed once from what the user wrote."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from penjing.errors import PenjingError
from penjing.plan.floor import METRIC, Floor

_TIMES: Final = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
_COUNTS: Final = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_ENERGIES: Final = {"nj": 1e-6, "uj": 1e-3, "µj": 1e-3, "μj": 1e-3, "mj": 1.0, "j": 1e3}
_BYTES: Final = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}

QUANTITIES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "latency": MappingProxyType(_TIMES),
        "cycles": MappingProxyType(_COUNTS),
        "energy": MappingProxyType(_ENERGIES),
        "macs": MappingProxyType(_COUNTS),
        "params": MappingProxyType(_COUNTS),
        "size": MappingProxyType(_BYTES),
        "memory": MappingProxyType(_BYTES),
        "units": MappingProxyType({}),
    }
)
"""What can be bounded, and the units it is written in, as multiples of ms, one, mJ and bytes.

`units` is a share of every axis and has no absolute form.
"""

_EXAMPLES: Final = {
    "latency": "2ms",
    "cycles": "600k",
    "energy": "5mJ",
    "macs": "100M",
    "params": "1.2M",
    "size": "2MB",
    "memory": "512KB",
    "units": "0.5x",
}
_AMOUNT: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-zµμ%]*)", re.IGNORECASE)

Amount = str | float
"""As `"0.5x"`, `"2ms"`; a plain number is absolute, in ms, cycles, mJ, operations, elements or bytes."""


@dataclass(frozen=True)
class Bound:
    """One bound of a budget.

    Attributes:
        quantity: a key of `QUANTITIES`.
        value: the share of the original, or the amount in ms, mJ, operations, elements or bytes; > 0.
        relative: whether `value` is a share.
        text: as the user wrote it.
    """

    quantity: str
    value: float
    relative: bool
    text: str = field(compare=False)

    @classmethod
    def parse(cls, quantity: str, amount: Amount) -> Bound:
        """Reads `amount` of `quantity`.

        Raises:
            PenjingError: PJ501, no such quantity; PJ502, no such amount.
        """
        if quantity not in QUANTITIES:
            near = get_close_matches(quantity, QUANTITIES, n=3, cutoff=0)
            raise PenjingError(
                "PJ501",
                f"`{quantity}` is no quantity that a budget can bound",
                tries=[f"`{name}={_EXAMPLES[name]}`" for name in near],
            )
        text = str(amount).strip()
        value, relative = _read(quantity, amount, text)
        if not (math.isfinite(value) and value > 0):
            raise _refused(quantity, text, "a bound is a finite number above zero")
        return cls(quantity, value, relative, text)

    def limit(self, before: Mapping[str, float]) -> float:
        """The bound as an absolute amount.

        Args:
            before: the original's figures by quantity.

        Raises:
            PenjingError: PJ507, a share of a figure that is not known.
        """
        if not self.relative:
            return self.value
        if self.quantity not in before:
            raise PenjingError(
                "PJ507",
                f"`{self}` is a share of a figure that is not known",
                because=f"nothing tells the {self.quantity} of the original",
                tries=[f"an absolute bound: `{self.quantity}={_EXAMPLES[self.quantity]}`"],
            )
        return self.value * before[self.quantity]

    def __str__(self) -> str:
        return f"{self.quantity}={self.text}"


@dataclass(frozen=True, init=False)
class Budget:
    """Bounds on what the smaller network may cost; all of them hold at once, and so does the floor.

    Example:
        >>> print(Budget(latency="0.5x", size="2MB"))
        latency=0.5x,size=2MB
        >>> Budget.parse("latency=2ms").limits({})
        {'latency': 2.0}
        >>> print(Budget.parse("macs=0.2x, metric >= 0.99x"))
        macs=0.2x,metric>=0.99x

    Attributes:
        bounds: one for each quantity that is bounded.
        floor: what the metric must not fall below; None for no floor.
    """

    bounds: tuple[Bound, ...]
    floor: Floor | None

    def __init__(
        self,
        *,
        latency: Amount | None = None,
        cycles: Amount | None = None,
        energy: Amount | None = None,
        macs: Amount | None = None,
        params: Amount | None = None,
        size: Amount | None = None,
        memory: Amount | None = None,
        units: Amount | None = None,
        metric: Amount | None = None,
    ) -> None:
        """Reads each bound: `"0.5x"` of the original, or an amount such as `"2ms"`, `"1.2M"`, `"512KB"`.

        `metric` is the floor: the least that `evaluate` may give, or `"0.99x"` of the original's.

        Raises:
            PenjingError: PJ502, an amount that cannot be read; PJ504, no bound at all.
        """
        given = {
            "latency": latency,
            "cycles": cycles,
            "energy": energy,
            "macs": macs,
            "params": params,
            "size": size,
            "memory": memory,
            "units": units,
        }
        self._set(
            [Bound.parse(quantity, amount) for quantity, amount in given.items() if amount is not None],
            [] if metric is None else [Floor.parse(metric)],
        )

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads `latency=0.5x`, `latency=2ms,size=2MB` or `macs=0.2x,metric>=0.92`.

        Raises:
            PenjingError: PJ501 to PJ504.
        """
        bounds, floors = [], []
        for part in text.split(","):
            quantity, sign, amount = (piece.strip() for piece in part.partition("="))
            if not sign and part.strip():
                raise PenjingError(
                    "PJ502",
                    f"`{part.strip()}` is no bound",
                    because="a bound is written quantity=amount",
                    tries=["`latency=0.5x`", "`latency=2ms,size=2MB`"],
                )
            name = quantity.removesuffix(">").strip()
            if sign and (name == METRIC or name in QUANTITIES) and (name == METRIC) != (name != quantity):
                raise _wrong_way(name, part.strip(), amount)
            if name == METRIC:
                floors.append(Floor.parse(amount))
            elif part.strip():
                bounds.append(Bound.parse(quantity, amount))
        budget = object.__new__(cls)
        budget._set(bounds, floors)
        return budget

    def limits(self, before: Mapping[str, float]) -> dict[str, float]:
        """Every bound but that on `units` as an absolute amount: ms, cycles, mJ, operations, elements, bytes.

        Args:
            before: the original's figures by quantity, in the same units.

        Raises:
            PenjingError: PJ507, a share of a figure that is not known.
        """
        return {bound.quantity: bound.limit(before) for bound in self.bounds if bound.quantity != "units"}

    @property
    def share(self) -> float | None:
        """The share of every axis that may stay at most, where `units` is bounded."""
        return next((bound.value for bound in self.bounds if bound.quantity == "units"), None)

    def _set(self, bounds: list[Bound], floors: list[Floor]) -> None:
        written = [*((bound.quantity, bound) for bound in bounds), *((METRIC, floor) for floor in floors)]
        quantities = [quantity for quantity, _ in written]
        if not written:
            raise PenjingError(
                "PJ504", "the budget bounds nothing", tries=["`latency=0.5x`", "`latency=2ms,size=2MB`"]
            )
        if twice := [quantity for quantity in quantities if quantities.count(quantity) > 1]:
            raise PenjingError(
                "PJ504",
                f"the budget bounds `{twice[0]}` twice",
                because=" and ".join(f"`{bound}`" for quantity, bound in written if quantity == twice[0]),
                tries=["give the tighter one only"],
            )
        object.__setattr__(
            self, "bounds", tuple(sorted(bounds, key=lambda b: list(QUANTITIES).index(b.quantity)))
        )
        object.__setattr__(self, "floor", floors[0] if floors else None)

    def __str__(self) -> str:
        return ",".join(map(str, [*self.bounds, *([self.floor] if self.floor else [])]))


def _read(quantity: str, amount: Amount, text: str) -> tuple[float, bool]:
    """The number, and whether it is a share of the original."""
    if isinstance(amount, bool):
        raise _refused(quantity, text, "that is no amount")
    if isinstance(amount, int | float):
        if quantity == "units":
            raise _refused(quantity, text, "units are bounded as a share of every axis")
        return float(amount), False
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise _refused(quantity, text, "that is no number with a unit")
    number, unit = float(match[1]), match[2].lower()
    if unit == "x":
        return number, True
    if unit == "%":
        raise _refused(quantity, text, f"shares are written with an x: {number / 100:g}x")
    scale = QUANTITIES[quantity].get(unit)
    if scale is None:
        known = ", ".join(name for name in QUANTITIES[quantity] if name.isascii() and name)
        reason = f"`{match[2]}` is no unit of it" if unit else "it has no unit"
        raise _refused(quantity, text, f"{reason}; known: {known + ', ' if known else ''}x")
    return number * scale, False


def _refused(quantity: str, text: str, because: str) -> PenjingError:
    tries = dict.fromkeys([f"`{quantity}={_EXAMPLES[quantity]}`", f"`{quantity}=0.5x`"])
    return PenjingError("PJ502", f"`{quantity}={text}` is no bound", because=because, tries=list(tries))


def _wrong_way(quantity: str, text: str, amount: str) -> PenjingError:
    sides = "above, the metric from below" if quantity != METRIC else "below, everything else from above"
    return PenjingError(
        "PJ502",
        f"`{text}` is no bound",
        because=f"`{quantity}` is bounded from {sides}",
        tries=[f"`{quantity}{'>=' if quantity == METRIC else '='}{amount}`"],
    )
