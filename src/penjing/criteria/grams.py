"""Gram matrices of what linear layers and convolutions read, and how much the outputs depend on each."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from penjing import processes
from penjing.errors import PenjingError
from penjing.network import Axis, Member, Network
from penjing.network.batch import kept_modes
from penjing.network.pairs import pairs
from penjing.network.projection import Projection, enough_rows, projections, readers
from penjing.network.replay import Replay, Shaped, by_shape, half_of
from penjing.network.solve import tensor_named

_ALIKE = 1e-10
"""Outputs whose squared distance from their mean is a smaller share of their own are taken for constant."""

ROWS = 32768
"""Positions (tokens, pixels) that are looked at in a layer, in all batches together; or 16 a feature."""


@dataclass
class Reading:
    """What one parameter multiplies, over all calibration inputs.

    Attributes:
        projection: the operator.
        matrix: the parameter, [groups, outputs, features].
        seen: positions seen, in the earlier and in the later half of the samples.
        samples: inputs seen.
        shift: mean features of the first batch, from which they are counted: no digits are lost to a large
            mean; [groups, 1, features].
        x: sum of features, likewise apart, float64 [2, groups, features].
        xx: sum of their products, float64 [2, groups, features, features].
        yy: sum of squared outputs, float64 [groups, outputs].
        slope: sum over all positions of the squared derivative of the network's outputs, each over its own
            spread, by this output; float64 [groups, outputs].
    """

    projection: Projection
    matrix: Tensor
    seen: list[int]
    samples: int
    shift: Tensor
    x: Tensor
    xx: Tensor
    yy: Tensor
    slope: Tensor

    def share(self) -> None:
        """Adds what other processes have seen of their batches, shifted alike."""
        counts = torch.tensor([*self.seen, self.samples], dtype=torch.float64)
        processes.sum_([counts, self.x, self.xx, self.yy, self.slope])
        *self.seen, self.samples = (int(count) for count in counts)

    @property
    def covariance(self) -> Tensor:
        """Of the features, float64 [groups, features, features]: what a constant explains is not missed."""
        mean = self.x.sum(0) / self.rows
        return self.xx.sum(0) / self.rows - mean[:, :, None] * mean[:, None, :]

    @property
    def halves(self) -> list[Tensor]:
        """The same of the earlier and the later half of the samples; of one where there is no other."""
        found = []
        for rows, x, xx in zip(self.seen, self.x, self.xx, strict=True):
            if rows:
                mean = x / rows
                found.append(xx / rows - mean[:, :, None] * mean[:, None, :])
        return found

    @property
    def rows(self) -> int:
        """All positions seen."""
        return sum(self.seen)

    @property
    def sensitivity(self) -> Tensor:
        """How far the outputs of the network go for a unit of squared error in an output, [groups, outputs].

        Squared, as a share of the spread of the network's outputs, per sample; errors of different positions
        and outputs are taken as independent.

        Source: the output side of K-FAC, its diagonal: Martens and Grosse 2015, arXiv:1503.05671, section 3,
        with the outputs themselves, along random directions (Hutchinson 1990), in the place of the loss.
        """
        return self.slope / self.samples

    @property
    def energy(self) -> Tensor:
        """Mean squared outputs, float64 [groups, outputs]."""
        return self.yy / self.rows


class Grams:
    """Readings of all parameters, collected when they are asked for, as many at a time as memory allows.

    Several processes ask for the same readings in the same order. They share the batches between them.

    Attributes:
        pairs: projections of queries and keys, by the axis of their width.
        names: of the parameters that there are readings of.
    """

    def __init__(
        self,
        net: Network,
        data: Iterable[Any],
        *,
        memory_bytes: int = 2 * 2**30,
        rows: int | None = None,
        seed: int = 0,
    ) -> None:
        """Reads the batches; nothing is run yet.

        Args:
            net: the network.
            data: batches, `inputs` or `(inputs, targets)`.
            memory_bytes: what Gram matrices may take together; those of one axis are always collected.
            rows: positions to look at in a layer; None for `ROWS`, or 16 a feature.
            seed: of their choice, and of random directions.

        Raises:
            PenjingError: PJ310, PJ311, PJ320, PJ322, the data cannot be used.
        """
        self._net, self._memory, self._rows, self._seed = net, memory_bytes, rows, seed
        self._shaped, self.notes = by_shape(net, data)
        if not self._shaped:
            raise PenjingError(
                "PJ322",
                "no batch of the calibration data can be run through the traced graph",
                because="; ".join(self.notes),
                tries=['criterion="taylor", which runs the model itself', "other example inputs"],
            )
        self.pairs = {pair.axis: pair for pair in pairs(net, projections(net.trace)).values()}
        self._named = [_used_once(kind.net) for kind in self._shaped]
        self.names = frozenset(projection.weight for projection in self._named[0].values())
        self._order = [
            [member.tensor for member in axis.members if member.tensor in self.names] for axis in net.prunable
        ]
        self._found: dict[str, Reading] = {}

    @processes.together()
    def of(self, names: Iterable[str]) -> dict[str, Reading]:
        """The readings of those of `names` that are the parameter of one linear layer or convolution.

        Raises:
            PenjingError: PJ310, a batch does not run; PJ303, features that are not finite.
        """
        asked = [name for name in dict.fromkeys(names) if name in self.names]
        if not all(name in self._found for name in asked):
            self._found = self._collect(self._portion(asked))
        return {name: self._found[name] for name in asked}

    def multiplies(self, member: Member) -> bool:
        """Whether an operator that sums over products reads the parameter, and no reading tells of it."""
        solution, trace = self._net.solution, self._net.trace
        return member.tensor not in self.names and any(
            reader in solution.ops and solution.ops[reader].contracts
            for node in trace.graph.nodes
            if node.op == "placeholder" and trace.state.get(node.name) == member.tensor
            for reader in node.users
        )

    def parameter(self, name: str | None) -> Tensor | None:
        """What the model has under a name; None for none."""
        return None if name is None else tensor_named(self._net.model, name).detach()

    def norm_shares(self, axis: Axis) -> Tensor:
        """The share of every unit in the squared norm of the parameters along its axis, float64 [size]."""
        found = torch.zeros(axis.size, dtype=torch.float64)
        for member in axis.members:
            tensor = tensor_named(self._net.model, member.tensor).detach()
            if tensor.is_floating_point():
                others = [dim for dim in range(tensor.ndim) if dim != member.dim]
                squares = tensor.double().square()
                along = squares.sum(others) if others else squares
                units = torch.tensor(member.units)
                found.index_add_(0, units[units >= 0], along[units >= 0])
        return found / found.sum().clamp_min(torch.finfo(torch.float64).tiny)

    def _portion(self, asked: Sequence[str]) -> set[str]:
        """What is asked for, and what the axes after it will ask for, up to the limit."""
        places = [place for place, names in enumerate(self._order) if set(asked) <= set(names)]
        found = set(asked)
        for names in self._order[places[0] + 1 :] if places else []:
            more = found.union(names)
            if sum(self._bytes(name) for name in more) > self._memory:
                break
            found = more
        return found

    def _bytes(self, name: str) -> int:
        projection = next(p for p in self._named[0].values() if p.weight == name)
        groups, _, features = projection.matrix(tensor_named(self._net.model, name)).shape
        return 2 * 8 * groups * features**2

    def _collect(self, names: set[str]) -> dict[str, Reading]:
        found: dict[str, Reading] = {}
        number = 0
        batches = sum(len(kind.calls) for kind in self._shaped)
        with kept_modes(self._net.model):
            self._net.model.eval()
            for kind, named in zip(self._shaped, self._named, strict=True):
                asked = {node: own for node, own in named.items() if own.weight in names}
                for place in range(len(kind.calls)):
                    own = number % processes.world() == processes.rank()
                    if own or any(one.weight not in found for one in asked.values()):
                        one = _Pass(kind, place, asked, found, batches, self._rows, f"{self._seed}-{number}")
                        one.run(counted=own)
                    number += 1
        for name in sorted(found):
            found[name].share()
        for name, reading in found.items():
            if not bool(reading.xx.isfinite().all() and reading.slope.isfinite().all()):
                raise PenjingError(
                    "PJ303",
                    f"what `{name}` reads, or a gradient there, is not finite on the calibration data",
                    because="scores made of it would rank nothing",
                    tries=["look for huge values in the data"],
                )
        return found


def _used_once(net: Network) -> dict[fx.Node, Projection]:
    count = readers(net.trace, partial(tensor_named, net.model))
    return {
        node: own
        for node, own in projections(net.trace).items()
        if count(tensor_named(net.model, own.weight)) == 1
    }


class _Pass:
    """One batch, forward and backward."""

    def __init__(
        self,
        kind: Shaped,
        place: int,
        asked: dict[fx.Node, Projection],
        found: dict[str, Reading],
        batches: int,
        rows: int | None,
        seed: str,
    ) -> None:
        self._kind, self._place, self._asked, self._found = kind, place, asked, found
        self._batches, self._rows = batches, rows
        self._seed = seed

    def run(self, *, counted: bool = True) -> None:
        """Where it is not counted, only the shifts are taken, which all processes need to have in common."""
        net = self._kind.net
        replay = Replay(net, self._kind.calls[self._place])
        probes: dict[fx.Node, Tensor] = {}
        outputs: list[Any] = []
        with torch.enable_grad():
            for node in net.trace.graph.nodes:
                value = replay.run(node)
                own = self._asked.get(node)
                if own is not None and value.is_floating_point():
                    self._note(own, replay.read(own.input).detach(), value.detach(), counted=counted)
                    probes[node] = torch.zeros_like(value, requires_grad=True)
                    replay.replace(node, value + probes[node])
                if node.op == "output":
                    outputs = value
                replay.done(node)
            aim = _projected(outputs, _generator(self._seed, "direction"))
        if aim is None or not counted:
            return
        gradients = torch.autograd.grad(aim, list(probes.values()), allow_unused=True)
        for node, gradient in zip(probes, gradients, strict=True):
            if gradient is not None:
                own = self._asked[node]
                every = torch.arange(gradient.numel() // gradient.shape[own.channel(gradient)])
                squared = own.targets(_wide(gradient).square(), every)
                self._found[own.weight].slope += squared.sum(1, dtype=torch.float64)

    def _note(self, own: Projection, x: Tensor, y: Tensor, *, counted: bool) -> None:
        matrix = own.matrix(tensor_named(self._kind.net.model, own.weight).detach())
        groups, out, width = matrix.shape
        most = self._rows or enough_rows(groups, width, ROWS)
        chosen = own.sample(y, -(-most // self._batches), _generator(self._seed, own.weight))
        features, outputs = _wide(own.features(x, chosen)), _wide(own.targets(y, chosen))
        reading = self._found.get(own.weight)
        if reading is None:
            shapes = ((2, groups, width), (2, groups, width, width), (groups, out), (groups, out))
            empty = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
            shift = features.mean(1, keepdim=True)
            reading = self._found[own.weight] = Reading(own, matrix, [0, 0], 0, shift, *empty)
        if not counted:
            return
        features = features - reading.shift
        size = y.shape[0] if y.ndim else 1
        which = half_of(self._place, len(self._kind.calls), own.samples_of(chosen, y), size)
        reading.samples += size
        for half in range(2):
            part = features[:, which == half]
            reading.seen[half] += part.shape[1]
            reading.x[half] += part.sum(1, dtype=torch.float64)
            reading.xx[half] += part.mT @ part
        reading.yy += outputs.square().sum(1, dtype=torch.float64)


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: squares of half precision overflow."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _generator(*parts: str) -> torch.Generator:
    """Random numbers that follow from a seed and what they are for, whatever else is drawn."""
    return torch.Generator().manual_seed(zlib.crc32("-".join(parts).encode()))


def _projected(outputs: Sequence[Any], generator: torch.Generator) -> Tensor | None:
    """The real outputs, each over its spread, along a random direction; a scalar."""
    terms = []
    for leaf in outputs:
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.requires_grad:
            direction = torch.randn(leaf.shape, generator=generator)
            size = _spread(leaf.detach().double())
            if 0 < size < math.inf:
                terms.append((leaf * direction).sum(dtype=torch.float64) / size)
    return torch.stack(terms).sum() if terms else None


def _spread(value: Tensor) -> float:
    """Root of the squared distance of a sample from the mean of its batch; from zero where all are alike."""
    samples = max(1, value.shape[0] if value.ndim else 1)
    energy = float(value.square().sum())
    apart = float((value - value.mean(0, keepdim=True)).square().sum()) if value.ndim else 0.0
    return math.sqrt((apart if apart > _ALIKE * energy else energy) / samples)
