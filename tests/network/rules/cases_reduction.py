"""Operators that fold a dimension up, or run along it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.network.rules import masks
from tests.network.rules.case import Case, case, flags

aten = torch.ops.aten
INF = float("inf")


def _forms(name: str, value: float, **options: Any) -> tuple[Case, ...]:
    """Over one dimension, over two and kept, over all; `value` has no influence on the result."""
    operator: Callable[..., Any] = getattr(torch, name)
    forms: tuple[tuple[str, Callable[..., Any]], ...] = (
        ("", lambda x: operator(x, dim=1, **options)),
        ("kept", lambda x: operator(x, dim=-1, keepdim=True, **options)),
    )
    return tuple(
        case(name, function, (2, 3, 4), note=note, masked=masks.filled(function, value))
        for note, function in forms
    )


CASES = (
    *_forms("sum", 0.0),
    *_forms("prod", 1.0),
    *_forms("amax", -INF),
    *_forms("amin", INF),
    *_forms("logsumexp", -INF),
    *_forms("nansum", 0.0),
    case("sum", torch.sum, (2, 3), note="all", masked=masks.filled(torch.sum, 0.0)),
    case(
        "sum",
        lambda x: x.sum((0, -1)),
        (2, 3, 4),
        note="two",
        masked=masks.filled(lambda x: x.sum((0, -1)), 0.0),
    ),
    case("mean", lambda x: x.mean(1), (2, 3, 4), masked=masks.mean([1])),
    case(
        "mean",
        lambda x: x.mean((-2, -1), keepdim=True),
        (2, 3, 4),
        note="kept",
        masked=masks.mean([1, 2], True),
    ),
    case("mean", torch.mean, (2, 3), note="all", masked=masks.mean([0, 1])),
    case("nanmean", lambda x: x.nanmean(1), (2, 3), masked=masks.mean([1])),
    case("var", lambda x: x.var(1), (2, 5), masked=masks.variance([1], 1)),
    case(
        "var",
        lambda x: x.var((0, 2), correction=0),
        (2, 5, 3),
        note="biased",
        masked=masks.variance([0, 2], 0),
    ),
    case("std", lambda x: x.std(-1, unbiased=False), (2, 5), masked=masks.variance([1], 0, root=True)),
    case("var_mean", lambda x: torch.var_mean(x, 1), (2, 5)),
    case("std_mean", lambda x: torch.std_mean(x, 1, keepdim=True), (2, 5)),
    case(
        "norm",
        lambda x: aten.norm(x, 2, [1]),
        (2, 3),
        masked=masks.filled(lambda x: aten.norm(x, 2, [1]), 0.0),
    ),
    case("norm", lambda x: aten.norm(x), (2, 3), note="all"),
    case("linalg_vector_norm", lambda x: torch.linalg.vector_norm(x, 3, (0, 1)), (2, 3)),
    case("linalg_norm", lambda x: torch.linalg.norm(x, dim=1, keepdim=True), (2, 3)),
    case("linalg_norm", torch.linalg.norm, (2, 3, 4), note="all"),
    case("linalg_matrix_norm", torch.linalg.matrix_norm, (2, 3, 4)),
    case(
        "linalg_matrix_norm", lambda x: torch.linalg.matrix_norm(x, "nuc", (0, 1)), (2, 3, 4), note="nuclear"
    ),
    case("frobenius_norm", lambda x: aten.frobenius_norm(x, [1]), (2, 3)),
    case("count_nonzero", lambda x: x.count_nonzero(1), (2, 3)),
    case("special_logsumexp", lambda x: aten.special_logsumexp(x, [1]), (2, 3)),
    case("all", lambda x: x.all(1), flags(2, 3)),
    case("all", torch.all, flags(2, 3), note="all"),
    case("any", lambda x: x.any(0, keepdim=True), flags(2, 3)),
    case("any", lambda x: aten.any.dims(x, [0, 1]), flags(2, 3, 4), note="two"),
    case("aminmax", lambda x: torch.aminmax(x, dim=1), (2, 3)),
    case("max", torch.max, (2, 3), note="all", masked=masks.filled(torch.max, -INF)),
    case(
        "max",
        lambda x: x.max(1).values,
        (2, 3),
        note="values",
        masked=masks.filled(lambda x: x.amax(1), -INF),
    ),
    case("max", lambda x: x.max(1), (2, 3), note="indices", frozen="0.1"),
    case("max", torch.max, (2, 3), (3,), note="of two"),
    case("min", lambda x: x.min(-1, keepdim=True).values, (2, 3), note="values"),
    case("min", lambda x: x.min(0), (2, 3), note="indices", frozen="0.0"),
    case("min", torch.min, (2, 1), (2, 3), note="of two"),
    case("cumsum", lambda x: x.cumsum(1), (2, 5), masked=masks.filled(lambda x: x.cumsum(1), 0.0)),
    case("cumprod", lambda x: x.cumprod(-1), (2, 5), masked=masks.filled(lambda x: x.cumprod(-1), 1.0)),
    case(
        "logcumsumexp",
        lambda x: x.logcumsumexp(0),
        (5, 2),
        masked=masks.filled(lambda x: x.logcumsumexp(0), -INF),
    ),
    case(
        "cummax",
        lambda x: x.cummax(1).values,
        (2, 5),
        note="values",
        masked=masks.filled(lambda x: x.cummax(1).values, -INF),
    ),
    case("cummax", lambda x: x.cummax(1), (2, 5), note="indices", frozen="0.1"),
    case(
        "cummin",
        lambda x: x.cummin(0).values,
        (5, 2),
        note="values",
        masked=masks.filled(lambda x: x.cummin(0).values, INF),
    ),
)
