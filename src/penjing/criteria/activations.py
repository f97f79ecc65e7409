"""Activations of every axis over the calibration data: how large, how often zero, and sample by sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from penjing import processes
from penjing.criteria.points import Point, points
from penjing.criteria.seen import Seen
from penjing.errors import PenjingError
from penjing.network import Network
from penjing.network.batch import Batch, kept_modes
from penjing.network.replay import Replay, Shaped, by_shape

Detail = Literal["activations", "correlations", "ranks"]
"""What is noted of activations: the first always, products of units and ranks of maps where asked."""

DETAILS: frozenset[Detail] = frozenset({"activations", "correlations", "ranks"})


@dataclass(frozen=True)
class Activity:
    """What the units of one axis do, at one place.

    Attributes:
        units: the unit of every index, -1 for none.
        size: how many units the axis has.
        seen: what was noted, by index and by sample.
    """

    units: tuple[int, ...]
    size: int
    seen: Seen

    def by_unit(self, figures: Tensor) -> Tensor:
        """The mean over the indices of every unit, float64 [size], of a figure for each index."""
        places = torch.tensor(self.units)
        held = places >= 0
        total = torch.zeros(self.size, dtype=torch.float64).index_add_(
            0, places[held], figures[held].double()
        )
        count = torch.bincount(places[held], minlength=self.size)
        return total / count.clamp_min(1)


@dataclass
class Activations:
    """Of all axes that may be cut, over all calibration samples.

    Several processes share the batches between them, and all have the same figures afterwards.

    Attributes:
        holds: what was noted.
        targets: of the samples, [samples, ...]; None where the batches bring none, or no tensors.
        notes: on batches that could not be used.
    """

    holds: frozenset[Detail]
    targets: Tensor | None
    notes: Sequence[str]
    _found: Mapping[str, Sequence[Activity]] = field(repr=False)

    def of(self, axis: str) -> Sequence[Activity]:
        """At every place where the axis is looked at.

        Raises:
            PenjingError: PJ323, it is in no activation, or never anything but zero.
        """
        every = self._found.get(axis, ())
        if not every:
            raise _silent(axis, "none of the values that are computed has it")
        if all(not bool(one.seen.largest.any()) for one in every):
            raise _silent(axis, "all of its activations are zero, on all of the calibration data")
        return every


def over_places(every: Sequence[Tensor]) -> Tensor:
    """The mean of the figures of all places at which an axis is looked at, float64 [size]."""
    return torch.stack(list(every)).mean(0)


@processes.together()
def observe(net: Network, data: Iterable[Any], details: Collection[Detail]) -> Activations:
    """Runs every batch through the network once, in eval mode, and notes what its axes do.

    Args:
        net: the network; its model is left as it was.
        data: batches, `inputs` or `(inputs, targets)`.
        details: what to note.

    Raises:
        PenjingError: PJ310, PJ311, PJ320, PJ322, the data cannot be used; PJ303, activations that are not
            finite.
    """
    batches = list(data)
    shaped, notes = by_shape(net, batches)
    if not shaped:
        raise PenjingError(
            "PJ322",
            "no batch of the calibration data can be run through the traced graph",
            because="; ".join(notes),
            tries=['criterion="taylor", which runs the model itself', "other example inputs"],
        )
    noted: dict[str, list[Seen]] = defaultdict(list)
    labels: dict[str, list[tuple[int, ...]]] = {}
    targets: list[Any] = []
    sizes = {axis.name: axis.size for axis in net.prunable}
    with kept_modes(net.model), torch.no_grad():
        net.model.eval()
        for kind in shaped:
            where = points(kind.net)
            if not labels:
                labels = {name: [one.units for one in every] for name, every in where.items()}
                noted |= {name: [Seen(frozenset(details)) for _ in every] for name, every in where.items()}
            for number, call in zip(kind.numbers, kind.calls, strict=True):
                if number % processes.world() == processes.rank():
                    targets.append(Batch.read(net.model, batches[number], number).targets)
                    _pass(kind, call, where, noted, sizes, number)
    found = {
        name: [Activity(units, sizes[name], seen) for units, seen in zip(labels[name], every, strict=True)]
        for name, every in noted.items()
    }
    for name in sorted(found):
        for one in found[name]:
            one.seen.share()
            _check(name, one.seen)
    return Activations(frozenset(details), _joined(targets), notes, found)


def _pass(
    kind: Shaped,
    call: Any,
    where: Mapping[str, Sequence[Point]],
    noted: Mapping[str, Sequence[Seen]],
    sizes: Mapping[str, int],
    number: int,
) -> None:
    """One batch."""
    at: dict[Any, list[tuple[Point, Seen, int]]] = defaultdict(list)
    for name, every in where.items():
        for point, seen in zip(every, noted[name], strict=True):
            at[point.node].append((point, seen, sizes[name]))
    samples = _samples(call)
    replay = Replay(kind.net, call)
    for node in kind.net.trace.graph.nodes:
        value = replay.run(node)
        for point, seen, size in at.get(node, ()):
            if isinstance(value, Tensor):
                seen.note(value, point.dim, point.units, size, samples, number)
        replay.done(node)


def _samples(call: Any) -> int:
    """How many a batch has: the first size of the first tensor it is called with."""
    leaves = pytree.tree_leaves((call.args, call.kwargs))
    return next((len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), 1)


def _joined(targets: Sequence[Any]) -> Tensor | None:
    """Of all processes, in the order in which their samples are put together."""
    whole = all(isinstance(one, Tensor) and one.ndim for one in targets)
    every = processes.from_each(torch.cat(list(targets)) if targets and whole else None)
    held = [one for one in every if one is not None]
    return torch.cat(held) if held and whole else None


def _check(axis: str, seen: Seen) -> None:
    if not bool(seen.size.isfinite().all() and seen.largest.isfinite().all()):
        raise PenjingError(
            "PJ303",
            f"an activation of `{axis}` is not finite on the calibration data",
            because="scores made of it would rank nothing",
            tries=["look for huge values in the data"],
        )


def _silent(axis: str, because: str) -> PenjingError:
    return PenjingError(
        "PJ323",
        f"nothing can be said of the activations of `{axis}`",
        because=because,
        tries=[f'keep=["{axis}"]', 'criterion="magnitude"', "calibration data that the units respond to"],
    )
