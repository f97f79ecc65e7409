"""Both networks gone through once, and every layer of the cut one solved on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from torch import Tensor, fx, nn

from penjing.network.pairs import Pair, pairs
from penjing.network.projection import Projection, computed, enough_rows, projections, readers
from penjing.network.replay import Replay
from penjing.network.scaling import Scaling, scalings
from penjing.network.solve import tensor_named
from penjing.recover.reconstruction.affine import Affine
from penjing.recover.reconstruction.attention import Attention
from penjing.recover.reconstruction.layer import Layer
from penjing.recover.reconstruction.lockstep import Column, Lockstep, again, alike, columns
from penjing.recover.step import Watch

_LEAST_ROWS = 98304
"""Positions to look at in a layer, in all batches together, if it has few features."""


Found = TypeVar("Found", Projection, Scaling)


class Walk:
    """Goes through both networks once.

    Attributes:
        solved: parameter name -> share of the squared held-out residual that was removed.
    """

    def __init__(
        self,
        steps: Sequence[Lockstep],
        model: nn.Module,
        rows: int | None,
        seed: int,
    ) -> None:
        """Takes batches in both networks; those with another graph than the first are left out.

        Args:
            steps: one for every shape of batches.
            model: the cut one, in eval mode; its weights are changed.
            rows: positions to look at in a layer; None for 16 times its features, at least 98304.
            seed: of their choice.
        """
        self._steps = [step for step in steps if alike(step.net, steps[0].net)]
        self._found = [projections(step.net.trace) for step in self._steps]
        self._scaled = [scalings(step.net.trace) for step in self._steps]
        self._model, self._rows = model, rows
        self._computed = computed(self._steps[0].net.trace)
        self._readers = readers(self._steps[0].net.trace, partial(tensor_named, self._steps[0].net.model))
        self._pairs = [
            list(pairs(step.net, found).values())
            for step, found in zip(self._steps, self._found, strict=True)
        ]
        self._later = {
            pair.later: place
            for place, pair in enumerate(self._pairs[0])
            if self._steps[0].keeps(pair.axis) < self._steps[0].net.axis(pair.axis).size
        }
        for run, pair in self._runs(self._later.values()):
            run.hold(pair.earlier.input)
        self._seed = seed
        self.solved: dict[str, float] = {}
        self._with_layers: set[fx.Node] = set()
        self._shared: dict[str, None] = {}
        self._short: dict[str, tuple[int, int]] = {}

    def run(self, watch: Watch) -> Walk:
        """Solves every layer in order."""
        with watch.track("reconstruct", len(self._found[0])) as advance:
            for column in columns(self._steps):
                self.visit(column)
                if column[0][1] in self._found[0]:
                    advance()
        return self

    def visit(self, column: Column) -> None:
        """Solves one operator, if it is a layer or scales channels; all up to it have been run."""
        step, node = column[0]
        if node in self._found[0] and self._is_computed(step, node):
            self._solve(column, self._of(column, self._found))
            if node in self._later:
                self._scores([every[self._later[node]] for every in self._pairs])
                for run, pair in self._runs([self._later[node]]):
                    run.release(pair.earlier.input)
        elif node in self._scaled[0] and node not in self._with_layers and self._is_computed(step, node):
            self._scale(column, self._of(column, self._scaled))

    def _of(self, column: Column, found: Sequence[Mapping[fx.Node, Found]]) -> list[Found]:
        return [one[node] for (_, node), one in zip(column, found, strict=True)]

    def _is_computed(self, step: Lockstep, node: fx.Node) -> bool:
        """Whether the cut network gives numbers there; not in branches that were dropped."""
        value = step.pairs[0][1].values.get(node)
        return isinstance(value, Tensor) and value.is_floating_point()

    def _is_learnt(self, name: str) -> bool:
        """Whether it is a parameter; buffers (a fixed filter) stay what they are."""
        return isinstance(tensor_named(self._model, name), nn.Parameter)

    def _is_shared(self, *names: str | None) -> bool:
        model = self._steps[0].net.model
        return any(name is not None and self._readers(tensor_named(model, name)) > 1 for name in names)

    def _scale(self, column: Column, own: list[Scaling]) -> None:
        if self._is_learnt(own[0].weight) and not self._is_shared(own[0].weight, own[0].bias):
            Affine(column, own, self._model).solve()
            again(column)

    def _runs(self, places: Iterable[int]) -> Iterator[tuple[Replay, Pair]]:
        """Every run of either network, with each of these pairs of it."""
        for place in places:
            for step, every in zip(self._steps, self._pairs, strict=True):
                for both in step.pairs:
                    for run in both:
                        yield run, every[place]

    def _scores(self, own: Sequence[Pair]) -> None:
        """Solves queries and keys together that were solved apart, and whose width was cut."""
        if all(name in self.solved for name in (own[0].query.weight, own[0].key.weight)):
            attention = Attention(self._steps, own, self._model)
            if attention.sound:
                attention.solve(self._rows or _LEAST_ROWS, self._seed)

    def _solve(self, column: Column, own: list[Projection]) -> None:
        name = own[0].weight
        if not self._is_learnt(name):
            return
        if self._is_shared(name, own[0].bias):
            self._shared[name] = None
            return
        layer = Layer(column, own, self._model)
        features = layer.features
        rows = self._rows or enough_rows(layer.groups, features, _LEAST_ROWS)
        found, seen = layer.solve(rows, self._seed)
        if seen < 2 * features:
            self._short[name] = seen, features
        self.solved[name] = found.gain
        if layer.norm is not None:
            self._with_layers.add(layer.norm)
        again(column)

    def notes(self) -> list[str]:
        """What the user should know."""
        found = []
        if self._shared:
            found.append(
                f"left as they are, since they are used in several places: {_listed([*self._shared])}"
            )
        if self._computed:
            found.append(f"left as they are, since weights are computed from them: {_listed(self._computed)}")
        if self._short:
            name, (seen, features) = max(self._short.items(), key=lambda item: item[1][1] / item[1][0])
            found.append(
                f"few samples: `{name}` reads {features} features at {seen} positions, and "
                f"{2 * features} would be needed; {len(self._short)} such layers are kept nearer to the "
                "trained weights"
            )
        return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
