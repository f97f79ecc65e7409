from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from penjing.network import Call
from penjing.run.rows import Rows

Made = Callable[[Tensor], object]


class Model(nn.Module):
    def __init__(self, made: Made) -> None:
        super().__init__()
        self.made = made
        torch.manual_seed(0)
        self.recurrent = nn.GRU(8, 4)
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)

    def forward(self, x: Tensor) -> object:
        return self.made(x)


def rows(made: Callable[[Model, Tensor], object], *shape: int) -> Rows:
    model = Model(torch.relu).eval()
    model.made = lambda x: made(model, x)
    call = Call((torch.randn(shape, generator=torch.Generator().manual_seed(1)),))
    with torch.no_grad():
        return Rows.of(model, call, call.run(model))


APART: dict[str, Callable[[Model, Tensor], object]] = {
    "activations": lambda m, x: (x.relu(), {"soft": x.softmax(-1), "none": None, "name": "x"}),
    "class": lambda m, x: x.argmax(-1),
}
TOGETHER: dict[str, Callable[[Model, Tensor], object]] = {
    "softmax over the batch": lambda m, x: x.softmax(0),
    "norm of the batch": lambda m, x: m.norm(x),
    "sequence first": lambda m, x: m.recurrent(x.unsqueeze(1))[0],
    "neighbour": lambda m, x: x + x.roll(1, 0),
}


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", APART)
def test_rows_that_are_computed_one_by_one_are_known(name: str, size: int) -> None:
    assert rows(APART[name], size, 8) == Rows()


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", TOGETHER)
def test_rows_that_depend_on_one_another_are_found_out(name: str, size: int) -> None:
    if (name, size) == ("norm of the batch", 1):
        pytest.skip("PyTorch has no such norm of one row")
    found = rows(TOGETHER[name], size, 8)
    assert "one by one" in found.sizes
    assert not found.values


def test_numbers_that_change_with_the_batch_are_found_out() -> None:
    assert "size of the batch" in rows(lambda m, x: (x, x.shape[0]), 4, 8).sizes


def test_numbers_that_change_with_the_inputs_are_found_out() -> None:
    assert "with the inputs" in rows(lambda m, x: (x, float(x.sum())), 4, 8).values


def test_outputs_that_have_no_batch_are_found_out() -> None:
    assert "begin with the batch" in rows(lambda m, x: (x, x.sum()), 4, 8).sizes


def test_model_of_one_size_alone_is_found_out() -> None:
    assert "no other batch" in rows(lambda m, x: x.reshape(4, 8), 4, 8).sizes
