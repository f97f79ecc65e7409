"""A pair of query and key projections of the cut network, solved together."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx, nn

from penjing import processes
from penjing.network.pairs import Pair, by_head
from penjing.network.projection import Projection
from penjing.network.replay import Replay
from penjing.network.solve import tensor_named
from penjing.recover.reconstruction.lockstep import Lockstep
from penjing.recover.reconstruction.scores import Heads, Seen, best, error

RIDGES = (1e-5, 1e-3, 1e-2, 1e-1)
"""To choose from, as shares of the mean moment of a feature."""


class Attention:
    """One pair, with its heads in both networks."""

    def __init__(self, steps: Sequence[Lockstep], own: Sequence[Pair], model: nn.Module) -> None:
        """Reads which rows of both weights belong to which head; all operators up to the later have run.

        Args:
            steps: both networks side by side, one for every shape of batches.
            own: the pair in each of them.
            model: the cut one.
        """
        self._steps, self._own, self._model = steps, own, model
        self._axis = steps[0].net.axis(own[0].axis)
        sides = [_rows(steps[0], one, own[0].axis) for one in (own[0].query, own[0].key)]
        found = [side for side in sides if side is not None]
        self.sound = len(found) == 2 and len(found[0][0]) == len(found[1][0])
        self._original, self._cut = ([side[which] for side in found] for which in range(2))
        self._means: list[Tensor] = []

    def solve(self, rows: int, seed: int) -> bool:
        """Changes both weights and biases of the cut model, where scores of samples held out come nearer.

        Args:
            rows: positions to look at, in all batches together.
            seed: of their choice.
        """
        halves = self._moments(rows, seed)
        if len(halves) < 2 or not all(_is_usable(part) for half in halves for part in (half.query, half.key)):
            return False
        original = self._heads(self._steps[0].net.model, self._original)
        now = self._heads(self._model, self._cut)
        width = now.query.shape[1]
        before = sum(error(original, now, half) for half in halves)
        tried = {
            ridge: sum(
                error(original, best(original, width, seen, ridge), unseen)
                for seen, unseen in (halves, halves[::-1])
            )
            for ridge in RIDGES
        }
        ridge = min(tried, key=tried.__getitem__)
        if not tried[ridge] < before:
            return False
        query, key = ((halves[0].query + halves[1].query) / 2, (halves[0].key + halves[1].key) / 2)
        whole = Seen(query, key, halves[0].of_cut)
        self._write(best(original, width, whole, ridge))
        for step, pair in zip(self._steps, self._own, strict=True):
            _again(step, pair)
        return True

    def _heads(self, model: nn.Module, places: Sequence[Tensor]) -> Heads:
        """Weights, with biases behind them where those count, [heads, width, features]."""
        found = []
        for one, rows, constant in zip(self._sides(self._own[0]), places, self._constants, strict=True):
            weight = one.matrix(tensor_named(model, one.weight).detach())[0].double()
            if constant:
                assert one.bias is not None
                bias = tensor_named(model, one.bias).detach().double()
                weight = torch.cat([weight, bias[:, None]], 1)
            found.append(weight[rows])
        return Heads(*found)

    @property
    def _constants(self) -> tuple[bool, bool]:
        """Whether queries and keys have a bias that counts."""
        pair = self._own[0]
        return pair.query.bias is not None, pair.key.bias is not None and not pair.centred

    @staticmethod
    def _sides(pair: Pair) -> tuple[Projection, Projection]:
        return pair.query, pair.key

    def _moments(self, rows: int, seed: int) -> list[Seen]:
        """Of both halves of the samples, if there are both."""
        sums: dict[tuple[int, int], list[Tensor]] = {}
        sizes = [0, 0]
        for side in range(2):
            for number, place, cut, whole in self._inputs(side, rows, seed):
                sizes[side] = cut.shape[1]
                both = torch.cat([cut, whole], 1)
                for half in range(2):
                    part = both[place == half]
                    count = torch.tensor([float(len(part))], dtype=torch.float64)
                    seen = [count, part.sum(0), part.mT @ part]
                    if number is None:
                        seen = [torch.zeros_like(one) for one in seen]
                    known = sums.setdefault((side, half), [torch.zeros_like(one) for one in seen])
                    for total, one in zip(known, seen, strict=True):
                        total += one
        if self._steps[0].shared:
            for which in sorted(sums):
                processes.sum_(sums[which])
        self._means = [
            (sums[side, 0][1] + sums[side, 1][1]) / (sums[side, 0][0] + sums[side, 1][0]) for side in range(2)
        ]
        found = []
        for half in range(2):
            if all(float(sums[side, half][0]) for side in range(2)):
                queries = _moment(sums[0, half], centred=False)
                keys = _moment(sums[1, half], centred=self._own[0].centred)
                found.append(Seen(queries, keys, (sizes[0], sizes[1])))
        return found

    def _inputs(self, side: int, rows: int, seed: int) -> Iterator[tuple[int | None, Tensor, Tensor, Tensor]]:
        """Number and halves, and what a projection reads in the cut network and in the original, float64."""
        batches = sum(step.batches for step in self._steps)
        for step, pair in zip(self._steps, self._own, strict=True):
            own = self._sides(pair)[side]
            for number, (whole, cut) in zip(step.numbers, step.pairs, strict=True):
                x, y = cut.read(own.input), whole.read(own.input)
                drawn = torch.Generator().manual_seed(zlib.crc32(f"{seed}-{number}-{own.weight}".encode()))
                chosen = own.sample(x, max(1, -(-rows // batches)), drawn)
                parts = [own.features(value, chosen)[0].double() for value in (x, y)]
                if self._constants[side]:
                    parts = [torch.cat([part, part.new_ones(len(part), 1)], 1) for part in parts]
                yield number, step.half(number, own.samples_of(chosen, x), x.shape[0]), parts[0], parts[1]

    def _write(self, heads: Heads) -> None:
        centred = self._own[0].centred
        sides = zip(self._sides(self._own[0]), (heads.query, heads.key), self._cut, strict=True)
        with torch.no_grad():
            for side, (one, value, rows) in enumerate(sides):
                weight = tensor_named(self._model, one.weight)
                matrix = one.matrix(weight.detach())[0].double().clone()
                features = matrix.shape[1]
                matrix[rows] = value[..., :features]
                weight.copy_(one.shaped(matrix[None], weight))
                if one.bias is None:
                    continue
                bias = tensor_named(self._model, one.bias)
                if side == 1 and centred:  # any constant will do: keys about zero
                    constant = -(value @ self._means[1][:features])
                else:
                    constant = value[..., features]
                bias[rows] = constant.to(bias.dtype)


def _is_usable(moments: Tensor) -> bool:
    """Whether anything that is read varies, and all of it is finite."""
    level = moments.diagonal().mean()
    return bool(moments.isfinite().all()) and bool(level > torch.finfo(torch.float32).tiny)


def _moment(sums: Sequence[Tensor], *, centred: bool) -> Tensor:
    """Of features whose number, sum and products were added up; about zero or about their mean."""
    count, total, products = sums
    mean = total / count
    return products / count - (torch.outer(mean, mean) if centred else 0.0)


def _rows(step: Lockstep, one: Projection, axis: str) -> tuple[Tensor, Tensor] | None:
    """Rows of the original's weight and of the cut one's, [heads, width], for heads that are left."""
    original = by_head(step.net.axis(axis), one)
    if original is None:
        return None
    kept = step.kept_indices(one.weight).get(one.out)
    left = torch.arange(original.numel()) if kept is None else torch.tensor(kept)
    place = torch.full((original.numel(),), -1)
    place[left] = torch.arange(len(left))
    now = place[original]
    heads = (now >= 0).any(1)
    widths = (now >= 0).any(0)
    now = now[heads][:, widths]
    return None if bool((now < 0).any()) else (original[heads], now)


def _again(step: Lockstep, pair: Pair) -> None:
    """Runs the cut network once more from both projections to where it was."""
    for _, cut in step.pairs:
        alive = {node for node in pair.way if node in cut.values}
        end = max(index for index, node in enumerate(pair.way) if node in alive)
        for node in pair.way[: end + 1]:
            cut.run(node)
        _forget(cut, [node for node in pair.way[: end + 1] if node not in alive])


def _forget(cut: Replay, nodes: list[fx.Node]) -> None:
    for node in nodes:
        cut.values.pop(node, None)
