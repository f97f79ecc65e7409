"""Linear layers and convolutions as matrices on rows: the product of both must be the operator's output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from penjing.network import trace
from penjing.network.projection import Projection, computed, projections, readers
from penjing.network.solve import tensor_named

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def found(model: nn.Module, x: Any) -> list[Projection]:
    return list(projections(trace(model.double().eval(), x).trace).values())


def agrees(model: nn.Module, x: Tensor) -> Projection:
    """Rows of features times the matrix, and the bias, are rows of what the model itself gives."""
    (own,) = found(model, x)
    weight = tensor_named(model, own.weight).detach()
    with torch.no_grad():
        y = model(x)
    own = own.grouped(weight, x, y)
    matrix = own.matrix(weight)
    every = torch.arange(y.numel() // y.shape[own.channel(y)])
    torch.testing.assert_close(own.shaped(matrix, weight), weight, rtol=0, atol=0)
    for rows in (every, every.flip(0)[::2]):
        got = own.features(x, rows) @ matrix.mT
        if own.bias is not None:
            got = got + tensor_named(model, own.bias).detach().view(own.groups, 1, -1)
        torch.testing.assert_close(got, own.targets(y, rows), rtol=1e-12, atol=1e-12)
    return own


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    dims = draw(st.integers(1, 3))
    groups, each, out = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, dilation = sizes(1, 3), sizes(1, 2)
    same = draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 99)))
    layer = CONVOLUTIONS[dims - 1](
        groups * each,
        groups * out,
        kernel,
        stride=1 if same else sizes(1, 3),
        padding=draw(st.sampled_from(["same", "valid"])) if same else sizes(0, 2),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    space = tuple(d * (k - 1) + 1 + draw(st.integers(0, 2)) for d, k in zip(dilation, kernel, strict=True))
    batch = draw(st.sampled_from([(), (1,), (3,)]))
    return layer, torch.randn(*batch, groups * each, *space, dtype=torch.float64)


@st.composite
def transposed(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    dims = draw(st.integers(1, 3))
    groups, each, out = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    torch.manual_seed(draw(st.integers(0, 99)))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    kernel = draw(st.integers(1, 4))
    layer = TRANSPOSED[dims - 1](
        groups * each,
        groups * out,
        kernel,
        stride=stride,
        padding=draw(st.integers(0, 2)),
        output_padding=draw(st.integers(0, max(stride, dilation) - 1)),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    space = tuple(draw(st.integers(5, 6)) for _ in range(dims))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    return layer, torch.randn(*batch, groups * each, *space, dtype=torch.float64)


@given(convolutions())
def test_convolution_is_its_matrix_on_its_features(case: tuple[nn.Module, Tensor]) -> None:
    assert agrees(*case).groups == case[0].groups


@given(transposed())
def test_transposed_convolution_is_its_matrix_on_its_features(case: tuple[nn.Module, Tensor]) -> None:
    assert agrees(*case).groups == case[0].groups


def test_depthwise_convolution_has_a_group_for_every_channel() -> None:
    own = agrees(nn.Conv2d(4, 8, 3, groups=4, padding=1), torch.randn(2, 4, 5, 5, dtype=torch.float64))
    assert own.groups == 4
    assert own.taps == 9


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_its_matrix_on_its_features(shape: tuple[int, ...], bias: bool) -> None:
    assert agrees(nn.Linear(5, 4, bias=bias), torch.randn(shape, dtype=torch.float64)).taps == 1


class Product(nn.Module):
    """A weight laid out [inputs, outputs], multiplied in one of the ways that torch has."""

    def __init__(self, how: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))
        self.bias = nn.Parameter(torch.randn(4))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.bias, x, self.weight)


@pytest.mark.parametrize(
    ("how", "has_bias"),
    [
        (torch.addmm, True),
        (lambda bias, x, weight: torch.mm(x, weight), False),
        (lambda bias, x, weight: x @ weight, False),
    ],
)
def test_product_is_its_matrix_on_its_features(how: Callable[..., Tensor], has_bias: bool) -> None:
    own = agrees(Product(how), torch.randn(3, 5, dtype=torch.float64))
    assert (own.into, own.out) == (0, 1)
    assert (own.bias is not None) == has_bias


@pytest.mark.parametrize(
    "how",
    [
        lambda bias, x, weight: torch.addmm(bias, x, weight, beta=2),
        lambda bias, x, weight: torch.addmm(bias, x, weight, alpha=2),
        lambda bias, x, weight: torch.addmm(bias.expand(3, 4), x, weight),
        lambda bias, x, weight: x @ (2 * weight),
        lambda bias, x, weight: weight.t() @ x.t(),
        lambda bias, x, weight: functional.linear(x, weight.t(), 2 * bias),
        lambda bias, x, weight: x @ weight.view(5, 2, 2).flatten(1),
    ],
)
def test_product_that_is_more_than_a_parameter_and_a_bias_is_left_out(how: Callable[..., Tensor]) -> None:
    assert found(Product(how), torch.randn(3, 5, dtype=torch.float64)) == []


@pytest.mark.parametrize(
    "turn",
    [
        lambda weight: weight.t(),
        lambda weight: weight.T,
        lambda weight: weight.transpose(-1, 0),
        lambda weight: weight.permute(1, 0),
    ],
)
def test_weight_that_is_exchanged_in_rows_and_columns_is_still_the_parameter(
    turn: Callable[[Tensor], Tensor],
) -> None:
    model = Product(lambda bias, x, weight: functional.linear(x, turn(weight), bias))
    own = agrees(model, torch.randn(3, 5, dtype=torch.float64))
    assert (own.into, own.out) == (0, 1)
    twice = Product(lambda bias, x, weight: x @ turn(turn(weight)))
    assert agrees(twice, torch.randn(3, 5, dtype=torch.float64)).into == 0


@pytest.mark.parametrize("most", [1, 7, 29, 30, 31])
def test_sample_draws_rows_of_the_output_in_order_or_takes_all(most: int) -> None:
    layer, x = nn.Conv1d(2, 3, 1), torch.randn(5, 2, 6, dtype=torch.float64)
    (own,) = found(layer, x)
    y = layer(x)
    rows = own.sample(y, most, torch.Generator().manual_seed(3))
    assert len(rows) == min(most, 30)
    assert torch.equal(rows, rows.sort().values)
    assert torch.equal(rows, own.sample(y, most, torch.Generator().manual_seed(3)))
    assert int(rows.min()) >= 0
    assert int(rows.max()) < 30
    assert torch.equal(own.samples_of(rows, y), rows // 6)


def test_units_of_features_follow_the_taps_and_those_of_outputs_the_groups() -> None:
    (conv,) = found(nn.Conv1d(2, 3, 2), torch.randn(1, 2, 4, dtype=torch.float64))
    assert conv.read_by((7, 8)) == [(7, 8, 7, 8)]
    assert conv.made_by((4, 5, 6)) == (4, 5, 6)
    other = nn.ConvTranspose1d(4, 6, 2, groups=2)
    (back,) = found(other, torch.randn(1, 4, 4, dtype=torch.float64))
    assert back.read_by((1, 2, 3, 4)) == [(1, 2, 1, 2), (3, 4, 3, 4)]
    assert back.made_by((0, 1, 2)) == (0, 1, 2, 0, 1, 2)


def test_groups_that_are_gone_are_read_off_the_weight() -> None:
    x = torch.randn(1, 6, 4, dtype=torch.float64)
    (own,) = found(nn.Conv1d(6, 6, 2, groups=3), x)
    weight = torch.randn(4, 2, 2)
    assert own.grouped(weight, x[:, :4], torch.randn(1, 4, 3)).groups == 2


class Shared(nn.Module):
    """Parameters that several operators read, each in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.once = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.table = nn.Embedding(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.table.weight
        self.viewed = nn.Linear(4, 4, bias=False)
        self.turned = nn.Parameter(torch.randn(4, 4))
        self.view = nn.Linear(4, 4, bias=False)
        self.view.weight = nn.Parameter(self.viewed.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.once(self.table(x))))
        x = x @ self.turned.t() + functional.linear(x, self.turned)
        return self.view(self.viewed(self.tied(x)))


def test_readers_count_every_operator_under_every_name() -> None:
    model = Shared()
    count = readers(trace(model, torch.tensor([0, 1, 3])).trace, partial(tensor_named, model))
    names = {"once": 1, "twice": 2, "tied": 2, "viewed": 2, "view": 2}
    for name, many in names.items():
        assert count(model.get_submodule(name).weight) == many, name
    assert count(model.turned) == 2


class Computed(nn.Module):
    """Weights that are not parameters: one is made of parameters, another of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Linear(4, 4)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.conditioned = nn.Linear(4, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.normed(self.plain(x))
        return functional.linear(x, self.conditioned(x.mean(0)).view(4, 4))


def test_weights_that_are_computed_are_named_by_what_they_are_computed_from() -> None:
    graph = trace(Computed(), torch.randn(3, 4)).trace
    assert [own.weight for own in projections(graph).values()] == ["plain.weight", "conditioned.weight"]
    names = {f"normed.parametrizations.weight.original{n}" for n in (0, 1)}
    assert set(computed(graph)) == names
