"""Calls for int8 ranges: pieces of batches, of the example's sizes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import penjing as pj
from penjing.run.ranges import SAMPLES, ranges


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
        return self.layer(x) * mask


def test_batches_are_cut_into_the_examples_rows_and_all_tensors_alike() -> None:
    net = pj.trace(Two(), {"x": torch.zeros(2, 3), "mask": torch.ones(2, 1)})
    x, mask = torch.arange(21.0).reshape(7, 3), torch.arange(7.0).reshape(7, 1)
    found = ranges(net, [{"x": x, "mask": mask}])
    assert [call.kwargs["x"].tolist() for call in found] == [x[i : i + 2].tolist() for i in (0, 2, 4)]
    assert [call.kwargs["mask"].tolist() for call in found] == [mask[i : i + 2].tolist() for i in (0, 2, 4)]


def test_targets_are_left_out_and_so_many_are_enough() -> None:
    net = pj.trace(nn.Linear(3, 4), torch.zeros(1, 3))
    data = [(torch.randn(50, 3), torch.zeros(50)) for _ in range(4)]
    found = ranges(net, data)
    assert len(found) == SAMPLES
    assert torch.equal(found[50].args[0], data[1][0][:1])


def test_without_data_or_with_other_sizes_there_are_none() -> None:
    net = pj.trace(nn.Linear(3, 4), torch.zeros(4, 3))
    assert ranges(net, None) == []
    assert ranges(net, [torch.zeros(3, 3)]) == []


def test_loader_that_draws_gives_the_same_twice_and_disturbs_nobody() -> None:
    class Drawn:
        def __iter__(self) -> Iterator[Tensor]:
            yield torch.randn(4, 3)

    net = pj.trace(nn.Linear(3, 4), torch.zeros(1, 3))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, second = ranges(net, Drawn()), ranges(net, Drawn())
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a.args[0], b.args[0]) for a, b in zip(first, second, strict=True))
