"""One layer solved again: its weights, its bias, and the batch norm behind it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from penjing.network.arguments import bind
from penjing.network.projection import Projection
from penjing.network.replay import Replay
from penjing.network.solve import tensor_named
from penjing.recover.reconstruction.lockstep import Column, Lockstep
from penjing.recover.reconstruction.regression import Fit, Moments, fit
from penjing.recover.reconstruction.sums import Chain, chain, missing

_LEAST_VARIANCE = 1e-3
"""Of the stored variance of a batch norm: a channel that varies by less keeps the stored one."""


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

    def solve(self, rows: int, generator: torch.Generator) -> tuple[Fit, int]:
        """Changes the cut model's weights for better ones.

        Args:
            rows: positions to look at, in all batches together.
            generator: draws them.

        Returns:
            What was changed, and how many rows there were.
        """
        halves = self._moments(rows, generator)
        norm = self._parts[0][2].norm
        found = fit(halves, offset=self._bias is not None or norm is not None)
        count = sum(half.rows for half in halves)
        if not bool(found.change.isfinite().all() and found.offset.isfinite().all()):
            return replace(found, ridge=None, gain=0.0), count
        own = self._parts[0][1]
        matrix = own.matrix(self._weight.detach()).double() + found.change
        offset = found.offset.flatten()
        with torch.no_grad():
            self._weight.copy_(own.shaped(matrix, self._weight))
            if self._bias is not None:
                self._bias.add_(offset.to(self._bias.dtype))
                offset = torch.zeros_like(offset)
            if norm is not None:
                self._renorm(norm, matrix, halves, offset)
        return found, count

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

    def _moments(self, rows: int, generator: torch.Generator) -> list[Moments]:
        """Of what the layer reads and of what its output lacks, for samples of even and odd number."""
        halves = [Moments(), Moments()]
        shifts: tuple[Tensor, Tensor] | None = None
        number = 0
        batches = sum(len(step.pairs) for step, _, _ in self._parts)
        for step, own, way in self._parts:
            for whole, cut in step.pairs:
                output = cut.values[own.node]
                chosen = own.sample(output, max(1, -(-rows // batches)), generator)
                x = own.features(cut.read(own.input), chosen)
                r = own.targets(_lacking(step, own, way, whole, cut), chosen)
                shifts = shifts or (x.mean(1, keepdim=True), r.mean(1, keepdim=True))
                samples = own.samples_of(chosen, output) + number
                for parity, half in enumerate(halves):
                    here = samples % 2 == parity
                    if bool(here.any()):
                        half.add(x[:, here], r[:, here], shifts)
                number += output.shape[0]
        return halves

    def _renorm(self, norm: fx.Node, matrix: Tensor, halves: list[Moments], offset: Tensor) -> None:
        """Gives the batch norm the statistics of its new inputs, and changes its scale and shift to fit.

        The function stays what it is, `offset` added to the inputs, and is the same in training mode.
        """
        whole = halves[0].merged(halves[1]) if halves[1].rows else halves[0]
        mean = (matrix @ whole.mean_x[..., None])[..., 0].flatten()
        variance = ((matrix @ whole.centred()[0]) * matrix).sum(-1).flatten()
        if self._bias is not None:
            mean = mean + self._bias.double()
        arguments = bind(norm)
        state = self._parts[0][0].net.trace.state

        def held(name: str) -> Tensor | None:
            node = arguments[name]
            return tensor_named(self._model, state[node.name]) if isinstance(node, fx.Node) else None

        stored_mean, stored_variance = held("running_mean"), held("running_var")
        scale, shift, eps = held("weight"), held("bias"), float(arguments["eps"])
        assert stored_mean is not None
        assert stored_variance is not None
        if scale is None or shift is None:
            stored_mean.sub_(offset.to(stored_mean.dtype))
            return
        old_mean, old_variance, old_scale = stored_mean.double(), stored_variance.double(), scale.double()
        new_variance = torch.where(variance > _LEAST_VARIANCE * old_variance, variance, old_variance)
        shift.add_((old_scale * (mean + offset - old_mean) * (old_variance + eps).rsqrt()).to(shift.dtype))
        scale.mul_(((new_variance + eps) / (old_variance + eps)).sqrt().to(scale.dtype))
        stored_mean.copy_(mean)
        stored_variance.copy_(new_variance)


def _lacking(step: Lockstep, own: Projection, way: Chain, whole: Replay, cut: Replay) -> Tensor:
    """What the output lacks for the sums that it goes into to be those of the original."""
    output = cut.values[own.node]
    lacking: Tensor = step.kept(whole.values[own.node], own.node) - output
    for total, other, scale in way.sums:
        theirs = step.kept(whole.read(other), total)
        lacking = lacking + missing(theirs, cut.read(other), scale, own.channel(output))
    return lacking
