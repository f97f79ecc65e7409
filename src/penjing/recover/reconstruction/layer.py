"""One layer solved again: its weights, its bias, and the batch norm behind it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from penjing import processes
from penjing.network.projection import Projection
from penjing.network.replay import Replay
from penjing.network.solve import tensor_named
from penjing.recover.reconstruction.lockstep import Column, Lockstep
from penjing.recover.reconstruction.rectifier import Range, Rows, rectified
from penjing.recover.reconstruction.regression import Fit, Moments, fit, wide
from penjing.recover.reconstruction.restate import restate
from penjing.recover.reconstruction.sums import Chain, chain, lacking

_MOST_BYTES = 2 * 2**30
"""Of rows that are kept for solving behind a rectifier; with more, the layer is solved before it."""


class Layer:
    """A linear layer or convolution of the cut network, with what the original gives in its place.

    Attributes:
        projection: as in the original, for the first shape of input.
    """

    def __init__(self, column: Column, projections: list[Projection], model: nn.Module) -> None:
        """Looks where its output goes; all operators up to it have been run."""
        self.projection = projections[0]
        self._model = model
        self._weight = tensor_named(model, self.projection.weight)
        self._bias = tensor_named(model, self.projection.bias) if self.projection.bias else None
        self._parts = [
            (step, self._grouped(step, own), self._chain(step, own))
            for (step, _), own in zip(column, projections, strict=True)
        ]

    def solve(self, rows: int, seed: int) -> tuple[Fit, int]:
        """Changes the cut model's weights for better ones.

        Args:
            rows: positions to look at, in all batches together.
            seed: of their choice.

        Returns:
            What was changed, and how many rows there were.
        """
        rectifies = all(way.ceiling is not None for _, _, way in self._parts)
        seen: list[Rows] | None = [] if rectifies and 4 * rows * self.features <= _MOST_BYTES else None
        shared = self._parts[0][0].shared
        halves = _moments(self._rows(rows, seed), seen, shared=shared)
        norm = self.norm
        offset = self._bias is not None or norm is not None
        found = rectified(seen, halves, fit(halves, offset=offset), offset=offset, shared=shared)
        count = sum(half.rows for half in halves)
        if not bool(found.change.isfinite().all() and found.offset.isfinite().all()):
            return replace(found, ridge=None, gain=0.0), count
        own = self._parts[0][1]
        matrix = own.matrix(self._weight.detach()).double() + found.change
        constant = found.offset.flatten()
        with torch.no_grad():
            self._weight.copy_(own.shaped(matrix, self._weight))
            if self._bias is not None:
                self._bias.add_(constant.to(self._bias.dtype))
                constant = torch.zeros_like(constant)
            if norm is not None:
                self._renorm(norm, matrix, halves, constant)
        return found, count

    @property
    def norm(self) -> fx.Node | None:
        """The batch norm right behind, which is solved with the layer."""
        return self._parts[0][2].norm

    @property
    def groups(self) -> int:
        """How many read apart from one another."""
        return self._parts[0][1].matrix(self._weight).shape[0]

    @property
    def features(self) -> int:
        """How many are read for one output."""
        return self._parts[0][1].matrix(self._weight).shape[2]

    def _grouped(self, step: Lockstep, own: Projection) -> Projection:
        """As in the cut network."""
        cut = step.pairs[0][1]
        return own.grouped(self._weight, cut.read(own.input), cut.values[own.node])

    def _chain(self, step: Lockstep, own: Projection) -> Chain:
        values = step.pairs[0][1].values
        output = values[own.node]
        return chain(own.node, values, step.tensor, output.shape[own.channel(output)])

    def _rows(self, rows: int, seed: int) -> Iterator[Rows]:
        """What the layer reads and what its output lacks, batch by batch; first one that may not count.

        Which positions are looked at follows from the batch and the layer, whoever holds the batch.
        """
        batches = sum(step.batches for step, _, _ in self._parts)
        for step, own, way in self._parts:
            for number, (whole, cut) in zip(step.numbers, step.pairs, strict=True):
                output = cut.values[own.node]
                drawn = torch.Generator().manual_seed(zlib.crc32(f"{seed}-{number}-{own.weight}".encode()))
                chosen = own.sample(output, max(1, -(-rows // batches)), drawn)
                lack = lacking(step, own.node, way, own.channel(output), whole, cut)
                yield Rows(
                    wide(own.features(cut.read(own.input), chosen)),
                    wide(own.targets(lack, chosen)),
                    step.half(number, own.samples_of(chosen, output), output.shape[0]),
                    _range(own, way, cut, chosen),
                    counts=number is not None,
                )

    def _renorm(self, norm: fx.Node, matrix: Tensor, halves: list[Moments], offset: Tensor) -> None:
        """Of the outputs that the layer now has, whose mean and variance follow from those of its inputs."""
        whole = halves[0].merged(halves[1]) if halves[1].rows else halves[0]
        mean = (matrix @ whole.mean_x[..., None])[..., 0].flatten()
        variance = ((matrix @ whole.centred()[0]) * matrix).sum(-1).flatten()
        if self._bias is not None:
            mean = mean + self._bias.double()
        restate(norm, self._parts[0][0].net.trace, self._model, mean, variance, offset)


def _moments(given: Iterable[Rows], seen: list[Rows] | None, *, shared: bool) -> list[Moments]:
    """Of both halves of the samples; rows are kept in `seen` where it is a list."""
    halves = [Moments(), Moments()]
    begun = False
    for rows in given:
        if not begun:
            shifts = rows.features.mean(1, keepdim=True), rows.lacking.mean(1, keepdim=True)
            for half in halves:
                half.begin(processes.from_first(shifts) if shared else shifts)
            begun = True
        if not rows.counts:
            continue
        if seen is not None:
            seen.append(rows)
        for which, half in enumerate(halves):
            here = rows.half == which
            if bool(here.any()):
                half.add(rows.features[:, here], rows.lacking[:, here])
    if shared:
        for half in halves:
            half.share()
    return halves


def _range(own: Projection, way: Chain, cut: Replay, chosen: Tensor) -> Range | None:
    """Between which outputs the rectifier behind the layer lets something through; None if there is none."""
    if way.ceiling is None:
        return None
    output = wide(cut.values[own.node])
    shape = [1] * output.ndim
    shape[own.channel(output)] = -1
    found = own.targets(output, chosen)
    before = output * way.scale.to(output.dtype).view(shape) + way.shift.to(output.dtype).view(shape)
    for _, other, scale in way.sums:
        after = (way.scale / scale).nan_to_num(1.0, 1.0, 1.0)
        before = before + wide(cut.read(other)) * after.to(output.dtype).view(shape)
    scale = way.scale.to(output.dtype).view(own.groups, 1, -1)
    return Range(found, own.targets(before, chosen), scale, way.ceiling)
