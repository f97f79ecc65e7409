"""All blocks tuned together: towards the outputs of the original, and its activations behind every block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from penjing.network import Call
from penjing.network.replay import Replay, Shaped
from penjing.plan import Plan
from penjing.recover.blockwise.blocks import blocks
from penjing.recover.blockwise.gap import gap
from penjing.recover.blockwise.tuner import tune
from penjing.recover.reconstruction.lockstep import Lockstep
from penjing.recover.step import Watch

if TYPE_CHECKING:
    from penjing.recover.blockwise.blockwise import Blockwise


class Together:
    """Gradient steps on the whole cut network."""

    def __init__(
        self, shaped: Sequence[Shaped], plan: Plan, model: nn.Module, how: Blockwise, seed: int, watch: Watch
    ) -> None:
        """Nothing is run yet."""
        self._model, self._how, self._watch = model, how, watch
        self._generator = torch.Generator().manual_seed(seed)
        self._batches: list[tuple[Lockstep, Call]] = []
        self._ends = {}
        for one in shaped:
            step = Lockstep(Shaped(one.net, []), plan, model, gradients=True)
            self._ends[step] = frozenset(block.ends for block in blocks(one.net) if block.ends is not None)
            self._batches += [(step, call) for call in one.calls]

    def run(self) -> tuple[float, float]:
        """The gap of outputs on batches held back, before and after."""
        held = self._batches[::8] if len(self._batches) > 1 else self._batches
        taken = {id(call) for _, call in held}
        seen = [one for one in self._batches if id(one[1]) not in taken] or self._batches
        order: list[int] = []
        while len(order) < self._how.joint:
            order += torch.randperm(len(seen), generator=self._generator).tolist()
        share = self._how.share
        narrow = torch.autocast("cpu", torch.bfloat16, enabled=self._how.precision == "bfloat16")

        def loss(step: int) -> Tensor:
            with narrow:
                outputs, behind, aims, aims_behind = self._both(*seen[order[step]])
                value = gap(outputs, aims)
                return (1 - share) * value + share * gap(behind, aims_behind) if behind else value

        def judge() -> float:
            with torch.no_grad():
                found = [self._both(*one) for one in held]
                return sum(float(gap(outputs, aims)) for outputs, _, aims, _ in found) / len(found)

        with self._watch.track("all blocks", self._how.joint) as advance:
            return tune(self._model, None, loss, self._how.joint, self._how.lr, judge, advance)

    def _both(
        self, step: Lockstep, call: Call
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Outputs and activations behind blocks of the cut network, and the same of the original."""
        whole, cut = step.pair(call)
        with torch.no_grad():
            aims, aims_behind = self._run(step, whole, cut=False)
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            outputs, behind = self._run(step, cut, cut=True)
        return outputs, behind, aims, aims_behind

    def _run(self, step: Lockstep, replay: Replay, *, cut: bool) -> tuple[list[Tensor], list[Tensor]]:
        behind: list[Tensor] = []
        outputs: list[Any] = []
        for node in step.net.trace.graph.nodes:
            value = replay.run(node)
            if node in self._ends[step]:
                behind.append(value.clone() if cut else step.kept(value, node).clone())
            if node.op == "output":
                outputs = value
            replay.done(node)
        return [leaf for leaf in pytree.tree_leaves(outputs) if _is_real(leaf)], behind


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
