"""Masks for many weights at once, from the worth of each of their elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from penjing.compress.masks.masks import Masks
from penjing.compress.masks.pattern import Pattern
from penjing.compress.masks.rule import Layer, Rule
from penjing.errors import PenjingError

Unsuited = Literal["skip", "refuse"]
"""What becomes of weights that a pattern does not suit: they stay whole, with a note; or an error."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """What goes.

    Attributes:
        masks: of every weight that the pattern suits.
        notes: of those that it does not: name -> why.
    """

    masks: Masks
    notes: dict[str, str]


def choose(
    worth: Mapping[str, Tensor],
    pattern: Pattern,
    rule: Rule | None,
    *,
    finish: Callable[[Tensor], Tensor] = lambda total: total,
    before: Mapping[str, Tensor] | None = None,
    outs: Mapping[str, int] | None = None,
    unsuited: Unsuited = "skip",
    nothing: bool = False,
) -> Chosen:
    """Decides for every weight which of its elements stay.

    A group is worth the mean over its elements (so that groups of different sizes can compete), after which a
    root is taken where the criterion calls for one.

    Args:
        worth: of every element, by the weight's name; larger means keep.
        pattern: which go together.
        rule: how many go; None where the pattern says so itself (N:M).
        finish: `WeightCriterion.finish`.
        before: masks that hold already: what is gone goes first again.
        outs: the dimension of outputs, by name, 0 or 1; 0 where it is not given. Patterns and rules are
            always
            asked about (outputs, inputs, ...): where outputs lie along 1, the first two are exchanged before.
        unsuited: what becomes of weights that the pattern does not suit.
        nothing: whether a rule by which nothing goes is taken at its word.

    Returns:
        Masks on the CPU, wherever the weights are.

    Raises:
        PenjingError: PJ810, the pattern suits no weight, or one not and that was to be refused; PJ811,
            rule and
            pattern do not go together; PJ812, PJ813, as `Rule.kept`.
    """
    turned = {name for name, out in (outs or {}).items() if out == 1 and name in worth}
    worth = {name: _turned(one.detach().cpu(), name in turned) for name, one in worth.items()}
    before = {name: _turned(one.cpu(), name in turned) for name, one in (before or {}).items()}
    notes = {name: why for name, one in worth.items() if (why := pattern.objection(one.shape))}
    fits = {name: one for name, one in worth.items() if name not in notes}
    if notes and (unsuited == "refuse" or not fits):
        name = next(iter(notes))
        raise PenjingError(
            "PJ810",
            f"the pattern {pattern.name} does not suit `{name}`, {tuple(worth[name].shape)}"
            + ("" if fits else ", nor any other weight"),
            because=notes[name],
            path=", ".join(list(notes)[:5]),
            tries=[
                f'leave it whole: keep=["{name}"]',
                'at_end="dense": the last few stay',
                "another pattern",
            ],
        )
    layers = {name: _layer(one, pattern, finish, before.get(name)) for name, one in fits.items()}
    if rule is not None:
        kept = rule.kept(layers, nothing=nothing)
    else:
        kept = {name: _fixed(name, layer, pattern) for name, layer in layers.items()}
    masks = {name: pattern.expand(kept[name], fits[name].shape) for name in layers}
    return Chosen(
        Masks({name: _turned(mask, name in turned) for name, mask in masks.items()}),
        {name: f"stays whole: {why}" for name, why in notes.items()},
    )


def _turned(tensor: Tensor, turn: bool) -> Tensor:
    return tensor.transpose(0, 1).contiguous() if turn else tensor


def _layer(
    worth: Tensor, pattern: Pattern, finish: Callable[[Tensor], Tensor], before: Tensor | None
) -> Layer:
    shape = tuple(worth.shape)
    size = pattern.size(shape)
    gone = None if before is None else pattern.groups(before) == 0
    return Layer(finish(pattern.groups(worth) / size), shape, size, gone)


def _fixed(name: str, layer: Layer, pattern: Pattern) -> Tensor:
    if bool(layer.scores.isnan().any()):
        raise PenjingError("PJ813", f"scores of `{name}` are NaN", because="nothing can be ranked by them")
    scores = layer.scores if layer.gone is None else layer.scores.masked_fill(layer.gone, float("-inf"))
    kept = pattern.fixed(scores)
    if kept is None:
        raise PenjingError(
            "PJ811",
            f"the pattern {pattern.name} does not say how many weights go",
            tries=["a rule, such as Sparsity(0.9)", '"2:4"'],
        )
    return kept
