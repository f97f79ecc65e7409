"""A program: layers, and the recorded steps that say which layer reads which values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """One call: a layer, and the numbers of the values that it reads. Its results are the next values."""

    layer: int
    reads: tuple[int, ...]


class Program(nn.Module):
    """Runs recorded steps on its inputs; the last result is the output. One layer may serve several steps."""

    def __init__(self, layers: Sequence[nn.Module], steps: Sequence[Step]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.steps = tuple(steps)

    def forward(self, *inputs: Tensor) -> Any:
        values: list[Any] = list(inputs)
        for step in self.steps:
            made = self.layers[step.layer](*(values[number] for number in step.reads))
            values.extend(made if isinstance(made, tuple) else [made])
        return values[-1]

    def listing(self) -> str:
        """The program as text, one step a line: enough to write a small example by hand."""
        lines = []
        for step in self.steps:
            layer = str(self.layers[step.layer]).replace("\n", " ")
            lines.append(f"{' '.join(f'v{n}' for n in step.reads)} -> [{step.layer}] {layer}")
        return "\n".join(lines)
