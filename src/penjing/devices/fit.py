"""Rates from measurements: non-negative least squares, detailed rates held near those of their family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from penjing.devices.terms import Terms

Floats = npt.NDArray[np.float64]
Rates = dict[str, float]

_TO_NOTHING: Final = 1e-4
"""Pull of a family's rate towards zero: settles it where measurements do not."""

_TO_FAMILY: Final = 1e-3
"""Pull of a detailed rate towards its family's."""


@dataclass(frozen=True)
class Row:
    """An equation: quantities times rates should give a time.

    Attributes:
        terms: quantities by the name of their rate.
        ms: what they took together.
        scale: the time that an error is relative to.
        weight: how much the equation counts; 1 for a whole network.
    """

    terms: Mapping[str, float]
    ms: float
    scale: float
    weight: float = 1.0


def fit(rows: Sequence[Row]) -> Rates:
    """The rates that explain `rows` best: first one a family, then one a detail near its family's.

    Returns:
        Rates of families and of details. `rate_of` finds one for a name that occurs in no row.
    """
    names = sorted({name for row in rows for name in row.terms})
    families = sorted({family_of(name) for name in names})
    detailed = _matrix(rows, names)
    member = np.array([[float(family_of(name) == family) for family in families] for name in names])
    common = _solve(rows, detailed @ member, _TO_NOTHING, np.zeros(len(families)))
    own = _solve(rows, detailed, _TO_FAMILY, member @ common)
    found = dict(zip(families, common.tolist(), strict=True))
    return {**found, **dict(zip(names, own.tolist(), strict=True))}


def family_of(name: str) -> str:
    """`conv:macs|3x3` -> `conv:macs`."""
    return name.partition("|")[0]


def rate_of(rates: Mapping[str, float], name: str) -> float:
    """The rate called `name`, else its family's, else (of `conv_odd`) the plain family's, else nothing."""
    group, _, what = family_of(name).partition(":")
    plain = f"{group.removesuffix('_odd').removesuffix('_few')}:{what}"
    return next((rates[known] for known in (name, f"{group}:{what}", plain) if known in rates), 0.0)


def priced(terms: Terms, rates: Mapping[str, float]) -> float:
    """Milliseconds of `terms` at `rates`."""
    return sum(quantity * rate_of(rates, name) for name, quantity in terms.items())


def _matrix(rows: Sequence[Row], names: Sequence[str]) -> Floats:
    place = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(rows), len(names)))
    for index, row in enumerate(rows):
        for name, quantity in row.terms.items():
            matrix[index, place[name]] += quantity
    return matrix


def _solve(rows: Sequence[Row], quantities: Floats, pull: float, towards: Floats) -> Floats:
    """Minimises weighted relative errors plus `pull` times the squared distance from `towards`.

    Columns are scaled by what they mean to a row of weight one, so that the pull is felt alike by all rates.
    """
    weights = np.array([row.weight / row.scale for row in rows])
    times = np.array([row.ms for row in rows])
    whole = np.array([row.weight >= 1.0 for row in rows])
    share = np.maximum((quantities[whole] / times[whole, None]).mean(axis=0), 1e-9)
    strength = (pull * whole.sum()) ** 0.5
    left = np.vstack([quantities * weights[:, None] / share, strength * np.eye(len(share))])
    right = np.concatenate([times * weights, strength * towards * share])
    scaled, _ = nnls(left, right, maxiter=100 * len(share) + 1000)
    rates: Floats = np.asarray(scaled, dtype=np.float64) / share
    return rates
