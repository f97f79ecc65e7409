"""The criteria that come with penjing, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from penjing.criteria.activity import Activity
from penjing.criteria.apoz import Apoz
from penjing.criteria.bn_scale import BnScale
from penjing.criteria.correlation import Correlation
from penjing.criteria.criterion import Criterion
from penjing.criteria.entropy import Entropy
from penjing.criteria.fisher import Fisher
from penjing.criteria.geometric_median import GeometricMedian
from penjing.criteria.gradient import Gradient
from penjing.criteria.hrank import HRank
from penjing.criteria.information import Information
from penjing.criteria.lamp import Lamp
from penjing.criteria.magnitude import Magnitude
from penjing.criteria.movement import Movement
from penjing.criteria.obd import Obd
from penjing.criteria.obs import Obs
from penjing.criteria.random import Random
from penjing.criteria.snip import Snip
from penjing.criteria.taylor import Taylor
from penjing.criteria.taylor_squared import TaylorSquared
from penjing.errors import PenjingError

CRITERIA: Mapping[str, Callable[[], Criterion]] = MappingProxyType(
    {
        "magnitude": Magnitude,
        "lamp": Lamp,
        "bn_scale": BnScale,
        "geometric_median": GeometricMedian,
        "gradient": Gradient,
        "taylor": Taylor,
        "taylor_squared": TaylorSquared,
        "snip": Snip,
        "movement": Movement,
        "fisher": Fisher,
        "obd": Obd,
        "obs": Obs,
        "random": Random,
        "activity": Activity,
        "apoz": Apoz,
        "entropy": Entropy,
        "information": Information,
        "hrank": HRank,
        "correlation": Correlation,
    }
)
"""Name -> criterion; called without arguments it has its default options."""


def get(criterion: str | Criterion) -> Criterion:
    """The criterion called `criterion`, with its default options; one that is no name is handed back.

    Raises:
        PenjingError: PJ301, there is none of that name.
    """
    if isinstance(criterion, Criterion):
        return criterion
    if criterion not in CRITERIA:
        near = get_close_matches(criterion, CRITERIA, n=3, cutoff=0)
        raise PenjingError(
            "PJ301", f"there is no criterion `{criterion}`", tries=[f"`{name}`" for name in near]
        )
    return CRITERIA[criterion]()
