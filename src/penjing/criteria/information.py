"""Information gain: what a unit's activation tells of the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from penjing.criteria.activations import over_places
from penjing.criteria.criterion import Record, UnitCriterion
from penjing.criteria.seen import Seen
from penjing.criteria.statistics import Statistics
from penjing.errors import PenjingError
from penjing.network import Axis

_BINS, _EACH = 16, 8
"""Bins where there are enough samples, and how many are enough for each cell."""


def information(values: Tensor, labels: Tensor, *, bins: int) -> Tensor:
    """Mutual information of each column with the labels, in nats, by counting.

    Args:
        values: [samples, columns], finite.
        labels: int64 [samples].
        bins: of each column, with as many samples in each of them as equal values allow.

    Returns:
        float64 [columns], non-negative, at most the entropy of the labels. Of few samples it is too high, by
        about (bins - 1)(classes - 1) / (2 samples), for all columns alike (Miller 1955).
    """
    count, columns = values.shape
    _, classes = labels.unique(return_inverse=True)
    kinds = int(classes.max()) + 1 if count else 1
    sorted_ = values.sort(0).values
    inner = (torch.arange(1, bins) * count) // bins
    edges = sorted_[inner].mT.contiguous()
    places = torch.searchsorted(edges, values.mT.contiguous(), right=True)  # [columns, samples]
    cells = (torch.arange(columns)[:, None] * bins + places) * kinds + classes
    joint = torch.bincount(cells.flatten(), minlength=columns * bins * kinds).view(columns, bins, kinds)
    shares = joint.double() / max(1, count)
    both, of_labels, of_values = (
        torch.special.entr(part).flatten(1).sum(1) for part in (shares, shares.sum(1), shares.sum(2))
    )
    found: Tensor = (of_labels + of_values - both).clamp_min(0)
    return found


@final
@dataclass(frozen=True)
class Information(UnitCriterion):
    """Mutual information between a unit's activation, averaged over positions, and the label.

    Attributes:
        bins: of the activation; None for 16, or fewer where there are not 8 samples for each cell of the
            table of bins and labels: with a bin for each sample, every unit would seem to tell everything.

    Source: information gain as in Quinlan 1986, Machine Learning 1(1); for features, Battiti 1994, IEEE TNN
    5(4). arXiv has no first use of it for units; the estimate is the plug-in one.
    """

    bins: int | None = None
    record: ClassVar[Record] = Record(
        name="information",
        summary="mutual information between activation and label",
        scores="units",
        needs=frozenset({"activations"}),
        normalise="none",
        source="Battiti 1994, IEEE TNN 5(4); for layers, Tishby and Zaslavsky 2015, arXiv:1503.02406",
        cost="one forward a batch",
    )

    def __post_init__(self) -> None:
        if self.bins is not None and self.bins < 2:
            what = f"Information(bins={self.bins}) tells nothing apart"
            raise PenjingError("PJ306", what, tries=["bins=16"])

    def worth(self, axis: Axis, statistics: Statistics) -> Tensor:
        """In nats.

        Raises:
            PenjingError: PJ324, the batches bring no labels, or not one class for each sample.
        """
        every = statistics.activations_of(axis.name)
        targets = None if statistics.activations is None else statistics.activations.targets
        return over_places([self._figure(one, _labels(targets, one, axis)) for one in every])

    def _figure(self, one: Seen, labels: Tensor) -> Tensor:
        fitting = len(labels) // (_EACH * len(labels.unique()))
        return information(one.samples, labels, bins=self.bins or max(2, min(_BINS, fitting)))


def _labels(targets: Tensor | None, one: Seen, axis: Axis) -> Tensor:
    samples = len(one.samples)
    if targets is None:
        because = "the batches of the calibration data bring no targets, or such of several shapes"
    elif targets.is_floating_point() or targets.is_complex():
        because = f"the targets are {str(targets.dtype).removeprefix('torch.')} numbers, and no classes"
    elif targets.ndim != 1:
        because = f"a sample has targets of shape {tuple(targets.shape[1:])}, and not one class"
    elif len(targets) != samples:
        because = f"`{axis.name}` is seen {samples} times, and there are {len(targets)} labels"
    elif int(targets.min()) < 0:
        because = f"a label is {int(targets.min())}"
    else:
        return targets.long().cpu()
    raise PenjingError(
        "PJ324",
        "`information` cannot say what activations tell of the labels",
        because=because,
        tries=["data=batches of (inputs, labels), one whole number from 0 for each sample", "`entropy`"],
    )
