"""Recurrent networks: layers, directions, projections, packed sequences; and their cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence

from tests.network.rules.case import Case, case

aten = torch.ops.aten
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
INPUT, HIDDEN, BATCH, STEPS = 3, 4, 2, 5


def _weights(kind: str, layers: int, directions: int, bias: bool, projected: int) -> list[tuple[int, ...]]:
    rows, shown = _GATES[kind] * HIDDEN, projected or HIDDEN
    shapes: list[tuple[int, ...]] = []
    for layer in range(layers):
        for _ in range(directions):
            shapes += [(rows, INPUT if layer == 0 else shown * directions), (rows, shown)]
            shapes += [(rows,), (rows,)] if bias else []
            shapes += [(projected, HIDDEN)] if projected else []
    return shapes


def _rnn(
    kind: str,
    note: str = "",
    *,
    layers: int = 1,
    directions: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    projected: int = 0,
) -> Case:
    operator: Callable[..., Any] = getattr(aten, kind).input
    states = [(layers * directions, BATCH, projected or HIDDEN)]
    states += [(layers * directions, BATCH, HIDDEN)] if kind == "lstm" else []

    def function(x: torch.Tensor, *rest: torch.Tensor) -> Any:
        before = list(rest[: len(states)]) if kind == "lstm" else rest[0]
        return operator(
            x, before, list(rest[len(states) :]), bias, layers, 0.0, False, directions == 2, batch_first
        )

    shape = (BATCH, STEPS, INPUT) if batch_first else (STEPS, BATCH, INPUT)
    steps = "0.1" if batch_first else "0.0"
    stacked = "".join(f" {place + 1}.0" for place in range(len(states)) if layers * directions > 1)
    return case(
        kind,
        function,
        shape,
        *states,
        *_weights(kind, layers, directions, bias, projected),
        note=note,
        frozen=steps + stacked,
    )


def _packed(kind: str) -> Case:
    lengths = torch.tensor([4, 2])
    sizes = pack_padded_sequence(torch.zeros(4, 2, INPUT), lengths).batch_sizes
    operator: Callable[..., Any] = getattr(aten, kind).data
    states = [(1, BATCH, HIDDEN)] * (2 if kind == "lstm" else 1)

    def function(x: torch.Tensor, *rest: torch.Tensor) -> Any:
        before = list(rest[: len(states)]) if kind == "lstm" else rest[0]
        return operator(x, sizes, before, list(rest[len(states) :]), True, 1, 0.0, False, False)

    frozen = "0.0 1.1 2.1" if kind == "lstm" else "0.0 1.1"
    return case(
        kind, function, (6, INPUT), *states, *_weights(kind, 1, 1, True, 0), note="packed", frozen=frozen
    )


def _cell(kind: str, note: str = "", *, bias: bool = True) -> Case:
    operator: Callable[..., Any] = getattr(aten, f"{kind}_cell")
    states = [(BATCH, HIDDEN)] * (2 if kind == "lstm" else 1)

    def function(x: torch.Tensor, *rest: torch.Tensor) -> Any:
        before = list(rest[: len(states)]) if kind == "lstm" else rest[0]
        return operator(x, before, *rest[len(states) :])

    return case(f"{kind}_cell", function, (BATCH, INPUT), *states, *_weights(kind, 1, 1, bias, 0), note=note)


CASES = (
    *(_rnn(kind) for kind in _GATES),
    *(_rnn(kind, "two layers, both directions", layers=2, directions=2) for kind in _GATES),
    *(_rnn(kind, "batch first, no bias", batch_first=True, bias=False) for kind in _GATES),
    _rnn("lstm", "projected", projected=2),
    _rnn("lstm", "projected, two layers, both directions", layers=2, directions=2, projected=3),
    _rnn("lstm", "projected, no bias", projected=2, bias=False),
    *(_packed(kind) for kind in _GATES),
    *(_cell(kind) for kind in _GATES),
    *(_cell(kind, "no bias", bias=False) for kind in _GATES),
)
