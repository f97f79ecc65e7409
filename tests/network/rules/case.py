"""What a rule is checked on: a function of small tensors, and what must stay frozen of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Masked = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], Any]


@dataclass(frozen=True)
class Case:
    """One call of one operator.

    Attributes:
        operator: the name in the table; `aten.` goes without saying.
        function: of the tensors.
        tensors: tensors, or shapes to be filled with normal numbers.
        note: what is special about this call.
        frozen, limits, refuses, masked: as `check_rule` takes them.
    """

    operator: str
    function: Callable[..., Any]
    tensors: tuple[torch.Tensor | tuple[int, ...], ...]
    note: str
    frozen: str
    limits: str
    refuses: str
    masked: Masked | None

    @property
    def name(self) -> str:
        return self.operator if "." in self.operator else f"aten.{self.operator}"

    def make(self) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [
            given if isinstance(given, torch.Tensor) else torch.randn(given, generator=generator)
            for given in self.tensors
        ]

    def __str__(self) -> str:
        shapes = ",".join("x".join(map(str, tensor.shape)) or "1" for tensor in self.make())
        return "-".join(filter(None, (self.operator, shapes, self.note.replace(" ", "_"))))


def case(
    operator: str,
    function: Callable[..., Any],
    *tensors: torch.Tensor | tuple[int, ...],
    note: str = "",
    frozen: str = "",
    limits: str = "",
    refuses: str = "",
    masked: Masked | None = None,
) -> Case:
    return Case(operator, function, tensors, note, frozen, limits, refuses, masked)


def integers(high: int, *shape: int) -> torch.Tensor:
    """Whole numbers below `high`, repeatable."""
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(2))


def half(*shape: int) -> torch.Tensor:
    """Normal numbers in bfloat16."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(4)).bfloat16()


def positive(*shape: int) -> torch.Tensor:
    """Numbers between 0.1 and 0.9: inside of the domain of every elementary function that has one."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 0.8 + 0.1


def flags(*shape: int) -> torch.Tensor:
    """True or False, repeatable."""
    return integers(2, *shape).bool()


def blank(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function whose result has no values of its own (`empty`), with zeros written into it."""
    return lambda *tensors: function(*tensors).fill_(0.0)
