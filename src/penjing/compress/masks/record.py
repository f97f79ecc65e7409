"""What was done to the weights of a model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WeightRecord(_Frozen):
    """One weight.

    Attributes:
        name: of the parameter.
        shape: of it.
        weights: how many it holds.
        kept: how many of them are not masked out.
        note: why it is whole, or what is to be known; "" for nothing.
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    kept: int
    note: str = ""

    @property
    def sparsity(self) -> float:
        """The share that is masked out."""
        return 1 - self.kept / self.weights if self.weights else 0.0


class MasksRecord(_Frozen):
    """A whole model.

    Attributes:
        pattern: which weights went together.
        rule: how many went; the pattern again, where it decided.
        criterion: what they were ranked by.
        layers: every weight of two or more dimensions.
        parameters: of the model, biases and the like included.
    """

    pattern: str
    rule: str
    criterion: str
    layers: tuple[WeightRecord, ...]
    parameters: int

    @property
    def sparsity(self) -> float:
        """The share of zeros in the weights that were to be sparse: those without a reason to be whole."""
        taken = [one for one in self.layers if one.kept < one.weights or not one.note]
        return 1 - sum(one.kept for one in taken) / max(1, sum(one.weights for one in taken))

    @property
    def removed(self) -> int:
        """How many weights are masked out."""
        return sum(one.weights - one.kept for one in self.layers)

    def __str__(self) -> str:
        width = max((len(one.name) for one in self.layers), default=0)
        lines = [f"{self.pattern}, {self.rule}, by {self.criterion}"]
        for one in self.layers:
            counts = f"{one.kept:>9} of {one.weights:<9} {one.sparsity:7.2%} zeros"
            line = f"{one.name:<{width}}  {counts}  {one.note}"
            lines.append(line.rstrip())
        lines.append(
            f"{self.removed} of {self.parameters} parameters are zeros; {self.sparsity:.2%} of these weights"
        )
        return "\n".join(lines)
