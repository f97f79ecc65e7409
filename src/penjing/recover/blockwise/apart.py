"""Block after block, each tuned by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from penjing.network.replay import Replay, Shaped
from penjing.plan import Plan
from penjing.recover.blockwise.blocks import Block, blocks
from penjing.recover.blockwise.gap import gap
from penjing.recover.blockwise.tuner import tune
from penjing.recover.reconstruction.lockstep import Lockstep, alike
from penjing.recover.reconstruction.reconstruct import fitting
from penjing.recover.reconstruction.walk import Walk
from penjing.recover.step import Watch

if TYPE_CHECKING:
    from penjing.recover.blockwise.blockwise import Blockwise


@dataclass(frozen=True)
class Example:
    """One batch at the beginning of a block.

    Attributes:
        cut: its run in the cut network.
        block: of the network of its shape.
        start: what stands there in the cut network.
        aims: what the block is to give.
    """

    cut: Replay
    block: Block
    start: Mapping[fx.Node, Any]
    aims: Sequence[Tensor]

    def forward(self) -> list[Tensor]:
        """What the block gives; gradients flow, and what stands at its start is left alone."""
        self.cut.values = _copied(self.start)
        value = None
        for node in self.block.nodes:
            value = self.cut.run(node)
        return [leaf for leaf in pytree.tree_leaves(value) if _is_real(leaf)]


class Apart:
    """Goes through both networks once, and tunes every block on the way."""

    def __init__(
        self, shaped: Sequence[Shaped], plan: Plan, model: nn.Module, how: Blockwise, seed: int, watch: Watch
    ) -> None:
        """Nothing is run yet."""
        fit, _ = fitting(shaped, how.memory_bytes)
        steps = [Lockstep(one, plan, model, gradients=True) for one in fit]
        self._steps = [step for step in steps if alike(step.net, steps[0].net)]
        self._blocks = [blocks(step.net) for step in self._steps]
        self._walk = Walk(self._steps, model, None, seed)
        self._model, self._how, self._watch = model, how, watch
        self._generator = torch.Generator().manual_seed(seed)

    def run(self) -> list[tuple[float, float]]:
        """By block: the gap on batches held back, before and after."""
        found = []
        count = len(self._blocks[0])
        with self._watch.track("blocks", count * self._how.steps) as advance:
            for number in range(count):
                examples = self._examples(number)
                if self._blocks[0][number].weights:
                    found.append(self._tuned(examples, self._blocks[0][number], advance))
                with torch.no_grad():
                    for example in examples:
                        self._pass(example)
        return found

    def _examples(self, number: int) -> list[Example]:
        """Runs both networks through the block, and solves its layers again on the way.

        What was solved before stood on what the blocks before gave then: they have been tuned since.
        """
        own = [every[number] for every in self._blocks]
        starts = [[_copied(cut.values) for _, cut in step.pairs] for step in self._steps]
        aims: list[list[list[Tensor]]] = [[] for _ in self._steps]
        with torch.no_grad():
            for nodes in zip(*(block.nodes for block in own), strict=True):
                column = list(zip(self._steps, nodes, strict=True))
                for step, node in column:
                    for whole, cut in step.pairs:
                        whole.run(node)
                        cut.run(node)
                self._walk.visit(column)
                for place, (step, node) in enumerate(column):
                    if node is own[place].nodes[-1]:
                        aims[place] = [_aims(step, own[place], whole) for whole, _ in step.pairs]
                    for whole, _ in step.pairs:
                        whole.done(node)
        return [
            Example(cut, block, start, aim)
            for step, block, begun, aimed in zip(self._steps, own, starts, aims, strict=True)
            for (_, cut), start, aim in zip(step.pairs, begun, aimed, strict=True)
        ]

    def _pass(self, example: Example) -> None:
        """Lets the cut network go through the block with the weights as they are now."""
        example.cut.values = _copied(example.start)
        for node in example.block.nodes:
            example.cut.run(node)
            example.cut.done(node)

    def _tuned(self, examples: Sequence[Example], block: Block, advance: Any) -> tuple[float, float]:
        held = examples[::8] if len(examples) > 1 else examples
        seen = [example for example in examples if all(example is not one for one in held)] or list(examples)
        order: list[int] = []
        while len(order) < self._how.steps:
            order += torch.randperm(len(seen), generator=self._generator).tolist()
        narrow = torch.autocast("cpu", torch.bfloat16, enabled=self._how.precision == "bfloat16")

        def loss(step: int) -> Tensor:
            with torch.enable_grad(), narrow:
                example = seen[order[step]]
                return gap(example.forward(), example.aims)

        def judge() -> float:
            with torch.no_grad():
                return float(sum(float(gap(one.forward(), one.aims)) for one in held)) / len(held)

        how = self._how
        return tune(self._model, set(block.weights), loss, how.steps, how.lr, judge, advance)


def _aims(step: Lockstep, block: Block, whole: Replay) -> list[Tensor]:
    """What the block is to give: the original's values where they are kept."""
    node = block.nodes[-1]
    value = whole.values[node]
    kept = step.kept(value, node).clone() if block.ends is node else value
    return [leaf for leaf in pytree.tree_leaves(kept) if _is_real(leaf)]


def _copied(values: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Copies, for operators may write into what they read."""
    return {node: pytree.tree_map_only(Tensor, torch.clone, value) for node, value in values.items()}


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
