"""Operators that read or write a window of a dimension."""

from __future__ import annotations

import torch

from tests.network.rules.case import case

aten = torch.ops.aten

CASES = (
    case("slice", lambda x: x[:, 1:], (2, 5)),
    case("slice", lambda x: x[:, :3], (2, 5), note="end"),
    case("slice", lambda x: x[:, 1:4], (2, 6), note="middle"),
    case("slice", lambda x: x[-3:], (6, 2), note="from the end"),
    case("slice", lambda x: x[:-2], (6, 2), note="up to the end"),
    case("slice", lambda x: x[-4:-1], (6, 2), note="before the end"),
    case("slice", lambda x: [x[:3], x[3:]], (6, 2), note="halves"),
    case("slice", lambda x: [x[:2], x[1:]], (6, 2), note="overlapping"),
    case("slice", lambda x: x[::2], (6, 2), note="stride"),
    case("slice", lambda x: [x[0::3], x[1::3], x[2::3]], (6, 2), note="phases"),
    case("slice", lambda x: x[::2], (7, 2), note="stride with a rest"),
    case("slice", lambda x: x[1::2], (7, 2), note="stride without the rest"),
    case("slice", lambda x: x[3::2], (8, 2), note="late stride", frozen="0.0"),
    case("slice", lambda x: x[:5:2], (8, 2), note="early end of stride", frozen="0.0"),
    case("slice_copy", lambda x: aten.slice_copy(x, 1, 1, 4), (2, 6)),
    case("slice_scatter", lambda x, y: torch.slice_scatter(x, y, 1, 1, 4), (2, 6), (2, 3)),
    case("slice_scatter", lambda x, y: torch.slice_scatter(x, y, 0, 0, 6, 2), (6, 2), (3, 2), note="stride"),
    case("narrow", lambda x: x.narrow(1, 1, 3), (2, 6)),
    case("narrow", lambda x: x.narrow(-1, -3, 2), (2, 6), note="negative"),
    case("narrow_copy", lambda x: aten.narrow_copy(x, 0, 2, 3), (6, 2)),
    case("select", lambda x: x[0], (4, 2)),
    case("select", lambda x: x[:, 2], (2, 5), note="middle"),
    case("select", lambda x: x.select(-1, -1), (2, 5), note="last"),
    case("select", lambda x: x.select(0, -2), (5, 2), note="before the last"),
    case("select_copy", lambda x: aten.select_copy(x, 0, 1), (4, 2)),
    case("select_scatter", lambda x, y: torch.select_scatter(x, y, 1, 2), (3, 5), (3,)),
    case("select_scatter", lambda x, y: torch.select_scatter(x, y, 0, -1), (3, 5), (5,), note="last"),
    case("roll", lambda x: x.roll(2, 1), (2, 5)),
    case("roll", lambda x: x.roll(-2, 0), (5, 2), note="backwards"),
    case("roll", lambda x: x.roll((7, -1), (0, -1)), (5, 4), note="both, and around"),
    case("roll", lambda x: x.roll(1), (2, 3), note="flattened", refuses="flattened", frozen="0.0 0.1"),
    case("flip", lambda x: x.flip(1), (2, 3), frozen="0.1", limits="0.1"),
    case("flip", lambda x: x.flip(0, -1), (2, 3, 4), note="both", frozen="0.0 0.2", limits="0.0 0.2"),
    case("fliplr", torch.fliplr, (2, 3), frozen="0.1", limits="0.1"),
    case("flipud", torch.flipud, (2, 3), frozen="0.0", limits="0.0"),
)
