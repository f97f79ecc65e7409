"""Grows a program: seeded, valid by construction, every value read by something that reaches the output."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tests.equivalence.generated import channels, heads, tokens
from tests.equivalence.generated.moves import MOVES, WIDEST, WIDTHS, Move
from tests.equivalence.generated.program import Program, Step

OPERATORS = 30
"""Every graph has at least so many operators."""


@dataclass(frozen=True)
class Grown:
    """A generated network.

    Attributes:
        seed: gives the same network again.
        model: in eval mode.
        inputs: example inputs, batch 2.
        operators: torch functions called on tensors, sizes and shapes aside.
        maskable: no layer folds channels up, so zeros in the weights mask any unit.
        moves: names of the moves made, in order.
    """

    seed: int
    model: Program
    inputs: tuple[Tensor, ...]
    operators: int
    maskable: bool
    moves: tuple[str, ...]


class Counter(TorchFunctionMode):
    """Counts operators as they are called."""

    total = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name not in ("__get__", "size", "dim", "detach") and any(
            isinstance(one, Tensor) for one in (made if isinstance(made, tuple | list) else [made])
        ):
            self.total += 1
        return made


@dataclass
class _Growth:
    """What is there so far: layers, steps, values, and the values that nothing has read."""

    rng: Random
    folds: bool
    inputs: int = 0
    counter: Counter = field(default_factory=Counter)
    layers: list[nn.Module] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    fits: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def call(self, layer: nn.Module, reads: tuple[int, ...], name: str, *, number: int | None = None) -> None:
        """Records a step and runs it."""
        if number is None:
            number = len(self.layers)
            self.layers.append(layer.eval())
        self.fits.setdefault(number, tuple(self.values[reads[0]].shape) if len(reads) == 1 else ())
        self.steps.append(Step(number, reads))
        with torch.no_grad(), self.counter:
            made = layer(*(self.values[read] for read in reads))
        self.unread = [value for value in self.unread if value not in reads]
        for one in made if isinstance(made, tuple) else [made]:
            self.unread.append(len(self.values))
            self.values.append(one)
        self.made.append(name)

    def pick(self) -> int:
        """A value to go on from: mostly one that nothing has read, mostly a late one."""
        if self.unread and self.rng.random() < 0.85:
            return self.rng.choice(self.unread[-3:])
        return self.rng.randrange(max(self.inputs, len(self.values) - 8), len(self.values))

    def alike(self, number: int, *, but: int | None = None) -> list[int]:
        """Other values of the same shape, dimension `but` aside; unread ones first."""

        def key(value: Tensor) -> list[int]:
            return [
                size for place, size in enumerate(value.shape) if but is None or place != but % value.dim()
            ]

        wanted = key(self.values[number])
        rank = self.values[number].dim()
        later = [n for n in range(self.inputs, len(self.values)) if n != number]
        found = [n for n in later if self.values[n].dim() == rank and key(self.values[n]) == wanted]
        return sorted(found, key=lambda n: n not in self.unread)


def grow(seed: int) -> Grown:
    """The generated network number `seed`."""
    rng = Random(seed)
    torch.manual_seed(seed)
    growth = _Growth(rng, folds=rng.random() < 0.5)
    _stem(growth)
    wanted = OPERATORS + rng.randrange(16)
    while growth.counter.total < wanted:
        _advance(growth)
    _head(growth)
    model = Program(growth.layers, growth.steps).eval()
    inputs = tuple(growth.values[: growth.inputs])
    return Grown(seed, model, inputs, growth.counter.total, not growth.folds, tuple(growth.made))


def _stem(growth: _Growth) -> None:
    """One or two inputs, each with a first layer: an image, tokens, or token numbers."""
    rng = growth.rng
    kinds = [rng.choice(["image", "image", "tokens", "tokens", "numbers"])]
    if rng.random() < 0.15:
        kinds.append("tokens")
    for kind in kinds:
        shape = {"image": (2, 3, 6, 6), "tokens": (2, 6, 5), "numbers": (2, 6)}[kind]
        every = torch.arange(12).view(2, 6)  # every row of the table is looked up: none is idle by chance
        growth.values.append(every if kind == "numbers" else torch.randn(shape))
    growth.inputs = len(kinds)
    for number, kind in enumerate(kinds):
        width = rng.choice(WIDTHS)
        if kind == "image":
            layer: nn.Module = nn.Conv2d(3, width, 3, padding=1, stride=rng.choice([1, 1, 2]))
        else:
            layer = nn.Linear(5, width) if kind == "tokens" else nn.Embedding(12, width)
        growth.call(layer, (number,), "stem")


def _advance(growth: _Growth) -> None:
    """One move: a join of several values, a layer used again, or something new."""
    dice = growth.rng.random()
    done = False
    if dice < 0.25:
        done = _join(growth)
    elif dice < 0.37:
        done = _again(growth)
    if not done:
        _new(growth)


def _new(growth: _Growth) -> None:
    for _ in range(20):
        number = growth.pick()
        shape = tuple(growth.values[number].shape)
        fitting = [m for m in MOVES if m.rank in (0, len(shape)) and (growth.folds or not m.folds)]
        move: Move = growth.rng.choices(fitting, [m.weight for m in fitting])[0]
        layer = move.build(growth.rng, shape)
        if layer is not None:
            growth.call(layer, (number,), move.name)
            return


def _again(growth: _Growth) -> bool:
    """A layer with weights, called once more on a value of the shape that it fits."""
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, shape in growth.fits.items():
        if shape and any(True for _ in growth.layers[number].parameters()):
            by_shape[shape].append(number)
    value = growth.pick()
    for number in [value, *growth.unread]:
        shared = by_shape[tuple(growth.values[number].shape)]
        if shared:
            chosen = growth.rng.choice(shared)
            growth.call(growth.layers[chosen], (number,), "shared", number=chosen)
            return True
    return False


def _join(growth: _Growth) -> bool:
    number, rng = growth.pick(), growth.rng
    value = growth.values[number]
    dim = 1 if value.dim() == 4 else -1
    if value.dim() == 3 and rng.random() < 0.25:
        others = [
            n for n in range(growth.inputs, len(growth.values)) if growth.values[n].dim() == 3 and n != number
        ]
        if others:
            other = rng.choice(others[-4:])
            made = tokens.CrossAttention(value.shape[2], growth.values[other].shape[2], 2, rng.choice([2, 3]))
            growth.call(made, (number, other), "cross attention")
            return True
    same = growth.alike(number)
    if same and rng.random() < 0.55:
        other = same[0] if rng.random() < 0.6 else rng.choice(same)
        layer = rng.choice(
            [channels.Add(), channels.Add(), channels.Gate(), channels.StackMean(), channels.Blend()]
        )
        growth.call(layer, (number, other), type(layer).__name__)
        return True
    joinable = growth.alike(number, but=dim)
    if joinable:
        reads = (number, *joinable[: rng.choice([1, 1, 2])])
        if sum(growth.values[read].shape[dim] for read in reads) <= WIDEST:
            growth.call(channels.Join(dim), reads, "concatenation")
            return True
    return False


def _head(growth: _Growth) -> None:
    """Logits from every value that nothing has read."""
    rng = growth.rng
    reads = tuple(growth.unread)
    how, features = [], []
    for read in reads:
        value = growth.values[read]
        choices = ["mean", "mean", "first"] + (["flatten"] if value[0].numel() <= 256 else [])
        how.append(rng.choice(choices))
        pooled = heads.pool(value, how[-1])
        features.append(pooled.shape[1])
    kind = rng.choice([heads.SumHead, heads.SumHead, heads.JoinHead, heads.DictHead])
    growth.call(kind(features, 3, tuple(how)), reads, "head")
