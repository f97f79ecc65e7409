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
        self.cut.values = pytree.tree_map_only(Tensor, torch.clone, dict(self.start))
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
        """Runs the original through the block, and notes where the cut network stands."""
        found = []
        for step, own in zip(self._steps, self._blocks, strict=True):
            block = own[number]
            for whole, cut in step.pairs:
                aims: list[Tensor] = []
                with torch.no_grad():
                    for node in block.nodes:
                        value = whole.run(node)
                        if node is block.nodes[-1]:
                            kept = step.kept(value, node) if block.ends is node else value
                            aims = [leaf for leaf in pytree.tree_leaves(kept) if _is_real(leaf)]
                        whole.done(node)
                found.append(Example(cut, block, dict(cut.values), aims))
        return found

    def _pass(self, example: Example) -> None:
        """Lets the cut network go through the block with the weights as they are now."""
        example.cut.values = dict(example.start)
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


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
