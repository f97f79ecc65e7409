"""A criterion of one's own, from a function."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, cast, final

from torch import Tensor

from penjing.criteria.combine import Normalise
from penjing.criteria.criterion import Record, WeightCriterion
from penjing.criteria.statistics import Need, Statistics
from penjing.errors import PenjingError


@final
@dataclass(frozen=True)
class Custom(WeightCriterion):
    """What a function says of every weight, summed over all weights of a unit.

    Example:
        >>> fourth = Custom(lambda name, weight, statistics: weight**4)
        >>> float(fourth.worth("", torch.tensor(2.0), Statistics()))
        16.0

    Attributes:
        function: (the parameter's name, its value, what was collected) -> a figure for each element, shaped
            as the parameter; larger means keep.
        needs: what is to be collected for it.
        name: under which it stands in reports.
        normalise: how axes are made comparable; `none` where its figures mean the same everywhere.
    """

    function: Callable[[str, Tensor, Statistics], Any]
    needs: Collection[Need] = frozenset()
    name: str = "custom"
    normalise: Normalise = "mean"

    @property
    def record(self) -> Record:
        """As the options say."""
        return Record(
            name=self.name,
            summary="a function of every weight, summed over all weights of a unit",
            scores="weights",
            needs=frozenset(self.needs),
            normalise=self.normalise,
            source="your own",
        )

    def worth(self, name: str, weight: Tensor, statistics: Statistics) -> Tensor:
        """What the function says.

        Raises:
            PenjingError: PJ325, it does not give one figure for each weight.
        """
        found = self.function(name, weight, statistics)
        is_tensor = isinstance(found, Tensor)
        if not is_tensor or found.shape != weight.shape or found.is_complex():
            given = f"{found.dtype} {tuple(found.shape)}" if is_tensor else type(found).__name__
            raise PenjingError(
                "PJ325",
                f"`{self.name}` gives no figure for each weight of `{name}` {tuple(weight.shape)}",
                because=f"the function returned {given}",
                tries=["return a real tensor shaped as the weight"],
            )
        return cast(Tensor, found.detach())
