"""Scale and shift of a normalisation or layer scale, fitted again channel by channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from penjing import processes
from penjing.network.arguments import bind
from penjing.network.scaling import Scaling
from penjing.network.solve import tensor_named
from penjing.recover.reconstruction.lockstep import Column
from penjing.recover.reconstruction.regression import Fit, Moments, fit
from penjing.recover.reconstruction.restate import restate
from penjing.recover.reconstruction.sums import chain, lacking


class Affine:
    """An operator of the cut network that scales channels, with what the original gives in its place."""

    def __init__(self, column: Column, scalings: list[Scaling], model: nn.Module) -> None:
        """Looks where its output goes; all operators up to it have been run."""
        self._parts = list(zip((step for step, _ in column), scalings, strict=True))
        own = scalings[0]
        self._model, self._own = model, own
        self._weight = tensor_named(model, own.weight)
        self._bias = tensor_named(model, own.bias) if own.bias else None

    def solve(self) -> Fit:
        """Changes the cut model's scale, and shift where there is one, for better ones.

        Every channel is brought as near to the original's as a scale and a shift can; where samples that were
        not looked at do not agree, nothing changes. A batch norm takes the statistics of its inputs, too.
        """
        found = fit(self._moments(), offset=self._bias is not None, strict=True)
        with torch.no_grad():
            if self._own.running:
                self._restate()
            change, offset = found.change.flatten(), found.offset.flatten()
            if found.ridge is not None and bool(change.isfinite().all() and offset.isfinite().all()):
                scale = 1 + change
                self._weight.mul_(scale.view(self._weight.shape).to(self._weight.dtype))
                if self._bias is not None:
                    self._bias.mul_(scale.to(self._bias.dtype)).add_(offset.to(self._bias.dtype))
        return found

    def _moments(self) -> list[Moments]:
        """Of the output, and of what it lacks, channel by channel, for both halves of the samples."""
        halves = [Moments(), Moments()]
        begun = False
        for step, own in self._parts:
            node = own.node
            for number, (whole, cut) in zip(step.numbers, step.pairs, strict=True):
                y = cut.values[node]
                way = chain(node, cut.values, step.tensor, y.shape[own.channel])
                lack = lacking(step, node, way, y.ndim + own.channel, whole, cut)
                x, r = own.rows(y), own.rows(lack)
                if not begun:
                    self._begin(halves, x.mean((1, 2))[:, None, None], r.mean((1, 2))[:, None, None])
                    begun = True
                if number is None:
                    continue
                side = step.half(number, torch.arange(x.shape[1]), x.shape[1])
                for which, half in enumerate(halves):
                    here = side == which
                    if bool(here.any()):
                        half.add(_column(x[:, here]), _column(r[:, here]))
        self._share(halves)
        return halves

    def _begin(self, moments: list[Moments], *shifts: Tensor) -> None:
        first, other = processes.from_first(shifts) if self._parts[0][0].shared else shifts
        for one in moments:
            one.begin((first, other))

    def _share(self, moments: list[Moments]) -> None:
        for one in moments if self._parts[0][0].shared else ():
            one.share()

    def _restate(self) -> None:
        """Without changing the function."""
        seen = Moments()
        begun = False
        step, own = self._parts[0]
        for step, own in self._parts:
            for number, (_, cut) in zip(step.numbers, step.pairs, strict=True):
                x = _column(own.rows(cut.read(bind(own.node)["input"])))
                if not begun:
                    mean = x.mean(1, keepdim=True)
                    self._begin([seen], mean, torch.zeros_like(mean))
                    begun = True
                if number is not None:
                    seen.add(x, torch.zeros_like(x))
        self._share([seen])
        variance = seen.centred()[0].flatten()
        mean = seen.mean_x.flatten()
        restate(own.node, step.net.trace, self._model, mean, variance, torch.zeros_like(mean))


def _column(rows: Tensor) -> Tensor:
    """One feature for each channel: [channels, rows, 1]."""
    return rows.flatten(1)[..., None]
