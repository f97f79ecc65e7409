"""How many groups go, and which: what every rule has.

Rules lie here and not in `penjing.plan`: they decide on single weights of tensors, where a plan decides on
units of axes under a budget; and the drivers beside them ask them again at every step of a training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from penjing.errors import PenjingError

Order = Literal["smallest", "largest"]
"""What goes first. "largest" is a control experiment: as many weights as the rule says, but the best ones.

What a network loses so, beside what it loses by the usual order, is what the scores know.
"""


@dataclass(frozen=True, eq=False)
class Layer:
    """What a rule is told of one weight.

    Attributes:
        scores: of its groups, float64; outputs lie along the first dimension; larger means keep. Means
            over the weights of a group: of
            different weights they can be compared.
        shape: of the weight.
        size: weights in a group.
        gone: groups that are gone already and go first again, bool, shaped as `scores`; None for none.
    """

    scores: Tensor
    shape: tuple[int, ...]
    size: int = 1
    gone: Tensor | None = None

    def key(self, order: Order) -> Tensor:
        """What groups are sorted by: the first ones go. Float64, flat."""
        key = self.scores.flatten().to(torch.float64)
        key = key if order == "smallest" else -key
        return key if self.gone is None else key.masked_fill(self.gone.flatten(), -torch.inf)


class Rule(ABC):
    """Says for every weight how many of its groups go. Counts are exact; of equal scores the earlier goes."""

    @property
    @abstractmethod
    def order(self) -> Order:
        """What goes first."""

    @property
    @abstractmethod
    def words(self) -> str:
        """As it is written, for errors and reports."""

    @abstractmethod
    def counts(self, layers: Mapping[str, Layer]) -> dict[str, int]:
        """How many groups of each weight go."""

    def chosen(self, layer: Layer, count: int) -> Tensor:
        """Which groups stay when so many go; bool, shaped as the scores."""
        return first_gone(layer.key(self.order), count).view(layer.scores.shape)

    def kept(self, layers: Mapping[str, Layer], *, nothing: bool = False) -> dict[str, Tensor]:
        """Which groups of each weight stay.

        Args:
            layers: by the weight's name; their order decides between equal scores of different weights.
            nothing: whether a rule by which nothing goes is taken at its word.

        Returns:
            Bool, shaped as the scores.

        Raises:
            PenjingError: PJ812, taken at its word the rule leaves nothing of a weight, or takes nothing away;
                PJ813, scores are NaN.
        """
        for name, layer in layers.items():
            if bool(layer.scores.isnan().any()):
                raise PenjingError(
                    "PJ813",
                    f"{int(layer.scores.isnan().sum())} of {layer.scores.numel()} scores of `{name}` are NaN",
                    because="nothing can be ranked by them",
                    tries=["look for NaN in the weights, the data and the gradients"],
                )
        counts = self.counts(layers)
        empty = [name for name, count in counts.items() if count >= layers[name].scores.numel() > 0]
        if empty:
            raise self._emptied(empty, layers)
        if not nothing and layers and not any(counts.values()):
            least = min(layers, key=lambda name: float(layers[name].scores.min()))
            raise PenjingError(
                "PJ812",
                f"{self.words} takes nothing away from any of {len(layers)} weights",
                because=f"the least score is {float(layers[least].scores.min()):.3g}, in `{least}`",
                tries=["a larger threshold or sparsity"],
            )
        return {name: self.chosen(layer, counts[name]) for name, layer in layers.items()}

    def _emptied(self, empty: list[str], layers: Mapping[str, Layer]) -> PenjingError:
        scores = layers[empty[0]].scores
        return PenjingError(
            "PJ812",
            f"{self.words} leaves nothing of `{empty[0]}`: all of its {scores.numel()} groups would go",
            because=f"its scores are from {float(scores.min()):.3g} to {float(scores.max()):.3g}",
            path=", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else ""),
            tries=[
                f'leave it whole: keep=["{empty[0]}"]',
                'Sparsity(..., scope="global", least=0.01): every weight keeps that share',
                "a smaller sparsity or threshold",
            ],
        )


def first_gone(key: Tensor, count: int) -> Tensor:
    """What is left when the `count` smallest go, of equal ones the earlier; bool [n].

    Args:
        key: [n], no NaN.
        count: from 0 to n.
    """
    kept = torch.ones(len(key), dtype=torch.bool, device=key.device)
    if count <= 0:
        return kept
    bound = key.kthvalue(count).values  # in linear time, where sorting is not
    kept[key < bound] = False
    tied = (key == bound).nonzero().flatten()
    kept[tied[: count - int((~kept).sum())]] = False
    return kept
