"""Operators that join tensors, or cut one apart."""

from __future__ import annotations

import torch

from tests.network.rules.case import case

aten = torch.ops.aten

CASES = (
    case("cat", lambda x, y: torch.cat([x, y]), (2, 3), (4, 3)),
    case("cat", lambda x, y, z: torch.cat([x, y, z], -1), (2, 3), (2, 1), (2, 4), note="last"),
    case("cat", lambda x: torch.cat([x, x], 1), (2, 3), note="with itself"),
    case("cat", lambda x: torch.cat([torch.zeros(0), x], 0), (2, 3), note="empty vector"),
    case("cat", lambda x, y: torch.cat([x, y]) * torch.cat([y, x]), (2, 3), (4, 3), note="crossed"),
    case("concat", lambda x, y: torch.concat([x, y], 1), (2, 3), (2, 4)),
    case("concatenate", lambda x, y: torch.concatenate([x, y], 1), (2, 3), (2, 4)),
    case("stack", lambda x, y: torch.stack([x, y], 1), (2, 3), (2, 3)),
    case("stack", lambda x, y: torch.stack([x, y], -1), (2, 3), (2, 3), note="last"),
    case("hstack", lambda x, y: torch.hstack([x, y]), (2, 3), (2, 4)),
    case("hstack", lambda x, y: torch.hstack([x, y]), (2,), (4,), note="vectors"),
    case("vstack", lambda x, y: torch.vstack([x, y]), (2, 3), (4, 3)),
    case("vstack", lambda x, y: torch.vstack([x, y]), (3,), (3,), note="vectors"),
    case("vstack", lambda x, y: torch.vstack([x, y]), (3,), (2, 3), note="row"),
    case("row_stack", lambda x, y: aten.row_stack([x, y]), (2, 3), (4, 3)),
    case("dstack", lambda x, y: torch.dstack([x, y]), (2, 3, 4), (2, 3, 1)),
    case("dstack", lambda x, y: torch.dstack([x, y]), (2, 3), (2, 3), note="matrices"),
    case("column_stack", lambda x, y: torch.column_stack([x, y]), (2, 3), (2, 4)),
    case("column_stack", lambda x, y: torch.column_stack([x, y]), (3,), (3,), note="vectors"),
    case("block_diag", lambda x, y: torch.block_diag(x, y), (2, 3), (4, 5)),
    case("block_diag", lambda x, y: torch.block_diag(x, y), (2, 3), (5,), note="row"),
    case("split", lambda x: x.split(2, 1), (2, 6)),
    case("split", lambda x: x.split(4, -1), (2, 6), note="shorter last"),
    case("split", lambda x: x.split(9, -1), (2, 6), note="one piece"),
    case("split", lambda x: aten.split(x, [2, 4], 1), (2, 6), note="sizes"),
    case("split_copy", lambda x: aten.split_copy(x, 2, 1), (2, 6)),
    case("split_with_sizes", lambda x: x.split([1, 2, 3], 0), (6, 2)),
    case("split_with_sizes_copy", lambda x: aten.split_with_sizes_copy(x, [1, 2, 3], 0), (6, 2)),
    case("chunk", lambda x: x.chunk(3, 1), (2, 6)),
    case("chunk", lambda x: x.chunk(4, -1), (2, 6), note="fewer pieces"),
    case("chunk", lambda x: [x.chunk(2, 1)[1], x], (2, 5), note="one read"),
    case("tensor_split", lambda x: x.tensor_split(4, 1), (2, 6)),
    case("tensor_split", lambda x: x.tensor_split([1, 4], 1), (2, 6), note="places"),
    case("unsafe_chunk", lambda x: torch.unsafe_chunk(x, 2, 1), (2, 6)),
    case("unsafe_split", lambda x: torch.unsafe_split(x, 3, 1), (2, 6)),
    case("unsafe_split_with_sizes", lambda x: aten.unsafe_split_with_sizes(x, [2, 4], 1), (2, 6)),
    case("hsplit", lambda x: x.hsplit(2), (3, 4)),
    case("hsplit", lambda x: x.hsplit(2), (4,), note="vector"),
    case("vsplit", lambda x: x.vsplit([1]), (3, 4)),
    case("dsplit", lambda x: x.dsplit(2), (2, 3, 4)),
    case("unbind", lambda x: x.unbind(1), (2, 3, 4), frozen="0.1"),
    case("unbind", lambda x: x.unbind(-1), (2, 3), note="last", frozen="0.1"),
    case("unbind_copy", aten.unbind_copy, (2, 3), frozen="0.0"),
)
