"""Activations of every axis over the calibration data: how large, how often zero, and sample by sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx

from penjing import processes
from penjing.criteria.points import Point, points
from penjing.criteria.seen import Seen
from penjing.errors import PenjingError
from penjing.network import Call, Network
from penjing.network.batch import Batch, kept_modes
from penjing.network.replay import Replay, Shaped, by_shape

Detail = Literal["activations", "correlations", "ranks"]
"""What is noted of activations: the first always, products of units and ranks of maps where asked."""

DETAILS: frozenset[Detail] = frozenset({"activations", "correlations", "ranks"})


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
    _found: Mapping[str, Sequence[Seen]] = field(repr=False)

    def of(self, axis: str) -> Sequence[Seen]:
        """At every place where the axis is looked at.

        Raises:
            PenjingError: PJ323, it is in no activation, or never anything but zero.
        """
        every = self._found.get(axis, ())
        if not every:
            raise _silent(axis, "none of the values that are computed has it")
        if all(not bool(one.largest.any()) for one in every):
            raise _silent(axis, "all of its activations are zero, on all of the calibration data")
        return every


def over_places(every: Sequence[Tensor]) -> Tensor:
    """The mean of the figures of all places at which an axis is looked at, float64 [size]."""
    return torch.stack(list(every)).mean(0)


def with_ties_broken(worth: Tensor, every: Sequence[Seen]) -> Tensor:
    """Adds at most a millionth, by the share of the largest mean absolute activation.

    A figure that is counted may be alike for all units; which of them goes must not be left to their order.
    """
    size = over_places([one.size / one.counts.clamp_min(1) for one in every])
    return worth + 1e-6 * size / size.max().clamp_min(torch.finfo(torch.float64).tiny)


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
    noted: dict[str, list[Seen]] = {}
    targets: list[Any] = []
    with kept_modes(net.model), torch.no_grad():
        net.model.eval()
        for kind in shaped:
            where = points(kind.net)
            if not noted:
                sizes = {axis.name: axis.size for axis in net.prunable}
                noted = {name: [Seen(sizes[name], details) for _ in every] for name, every in where.items()}
            elif {name: len(every) for name, every in where.items()} != {n: len(e) for n, e in noted.items()}:
                notes.append(
                    f"{len(kind.calls)} of the batches are not used: the model goes another way there"
                )
                continue
            for number, call in zip(kind.numbers, kind.calls, strict=True):
                if number % processes.world() == processes.rank():
                    targets.append(Batch.read(net.model, batches[number], number).targets)
                    _pass(kind, call, where, noted)
    for name in sorted(noted):
        for one in noted[name]:
            one.share()
            _check(name, one)
    return Activations(frozenset(details), _joined(targets), notes, noted)


def _pass(
    kind: Shaped, call: Call, where: Mapping[str, Sequence[Point]], noted: Mapping[str, Sequence[Seen]]
) -> None:
    """One batch."""
    at: dict[fx.Node, list[tuple[Point, Seen]]] = defaultdict(list)
    for name, every in where.items():
        for point, seen in zip(every, noted[name], strict=True):
            at[point.node].append((point, seen))
    replay = Replay(kind.net, call)
    for node in kind.net.trace.graph.nodes:
        value = replay.run(node)
        for point, seen in at.get(node, ()):
            if isinstance(value, Tensor):
                seen.note(value, point.dim, point.units, point.samples)
        replay.done(node)


def _joined(targets: Sequence[Any]) -> Tensor | None:
    """Of all processes, in the order in which their samples are put together; None where they do not fit."""
    own = [one.detach().cpu() for one in targets if isinstance(one, Tensor) and one.ndim]
    whole = len(own) == len(targets) and len({one.shape[1:] for one in own}) < 2
    every = processes.from_each((torch.cat(own) if own and whole else None, whole))
    held = [one for one, _ in every if one is not None]
    fits = all(fine for _, fine in every) and len({one.shape[1:] for one in held}) == 1
    return torch.cat(held) if fits else None


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
