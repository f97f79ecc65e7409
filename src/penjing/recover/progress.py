"""How far a training is, as one value: what it goes back to, and what it goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from penjing.errors import PenjingError
from penjing.recover.step import Epoch, Saved
from penjing.recover.weights import Weights


@dataclass
class Progress:
    """The state at the end of an epoch. Tensors are copies that nobody writes into.

    Attributes:
        history: every epoch so far; the first entry is the state before training.
        best: the epoch to keep, as things stand.
        best_weights: the weights then.
        weights: the weights now.
        optimizer: tensors of the optimizer.
        plain: what else its state holds.
        steps: how many it made.
        average: the moving average of the weights, where there is one.
        rate: by what the learning rate is multiplied, 0.5 after a rollback.
        over: whether training has ended, before its last epoch or with it.
        notes: for the record.
    """

    history: list[Epoch]
    best: int
    best_weights: Weights
    weights: Weights
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    average: Weights = field(default_factory=dict)
    rate: float = 1.0
    over: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return self.history[-1].epoch

    def saved(self, options: Mapping[str, Any]) -> Saved:
        """As tensors by name and plain JSON values; `options` say what training it belongs to."""
        parts = {"weights": self.weights, "average": self.average, "optimizer": self.optimizer}
        held = next((part for part, named in parts.items() if named is self.best_weights), "best")
        parts[held] = self.best_weights
        tensors = {f"{part}/{name}": t for part, named in parts.items() for name, t in named.items()}
        record = {
            "step": "fine_tune", "options": dict(options),
            "history": [epoch.model_dump() for epoch in self.history],
            "best": self.best, "best_in": held, "plain": self.plain, "steps": self.steps, "rate": self.rate,
            "over": self.over, "notes": self.notes,
        }  # fmt: skip
        return Saved(tensors, record)

    @classmethod
    def read(
        cls, saved: Saved, options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
    ) -> Progress:
        """The inverse of `saved`.

        Raises:
            PenjingError: PJ318, it belongs to another training, or to another model.
        """
        record = saved.record
        differ = _differences(record.get("options", {}), options)
        parts: dict[str, Weights] = {"weights": {}, "best": {}, "average": {}, "optimizer": {}}
        for key, tensor in saved.tensors.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = tensor
        found = {name: tuple(tensor.shape) for name, tensor in parts["weights"].items()}
        if record.get("step") != "fine_tune" or differ or found != dict(shapes):
            raise PenjingError(
                "PJ318",
                "the progress written down belongs to another training",
                because="; ".join(differ) or "it is of a model with other tensors",
                tries=["go on with the options it was begun with", "begin anew in another directory"],
            )
        return cls(
            history=[Epoch.model_validate(entry) for entry in record["history"]],
            best=record["best"],
            best_weights=parts[record["best_in"]],
            weights=parts["weights"],
            optimizer=parts["optimizer"],
            plain=dict(record["plain"]),
            steps=record["steps"],
            average=parts["average"],
            rate=record["rate"],
            over=record["over"],
            notes=list(record["notes"]),
        )


def _differences(former: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted({*former, *now})
    return [f"{n}: {former.get(n)!r}, now {now.get(n)!r}" for n in names if former.get(n) != now.get(n)]
