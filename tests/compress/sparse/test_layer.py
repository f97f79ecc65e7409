"""Sparse layers compute what dense ones compute, and hold the same numbers."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from penjing.compress.sparse.form import BLOCKS, Form, candidates, decode, kept
from penjing.compress.sparse.layer import SparseConv2d, SparseLinear

FORMS = [Form(), *map(Form, BLOCKS)]


def sparse_matrix(rows: int, columns: int, share: float, *, block: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(-(-rows // block), -(-columns // block), generator=generator) < share
    mask = mask.repeat_interleave(block, 0).repeat_interleave(block, 1)[:rows, :columns]
    return torch.randn(rows, columns, generator=generator) * mask


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("share", [0.0, 0.03, 0.4, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encoded_and_decoded_is_the_same_bit_for_bit(form: Form, share: float, dtype: torch.dtype) -> None:
    dense = sparse_matrix(64, 96, share).to(dtype)
    assert torch.equal(decode(form.encode(dense)), dense)
    assert Form.read(form.name) == form


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.integers(0, 99))
def test_share_that_is_kept_is_counted(rows: int, columns: int, share: float, seed: int) -> None:
    dense = sparse_matrix(4 * rows, 4 * columns, share, seed=seed)
    stored = {1: 0, 4: 0}
    for i in range(4 * rows):
        for j in range(4 * columns):
            stored[1] += bool(dense[i, j] != 0)
    for i in range(rows):
        for j in range(columns):
            stored[4] += 16 * bool((dense[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] != 0).any())
    for block, count in stored.items():
        assert kept(dense, Form(block)) == pytest.approx(count / dense.numel())


def test_forms_are_tried_where_half_would_be_left_out_and_blocks_fit() -> None:
    assert [form.name for form in candidates(sparse_matrix(64, 64, 0.2, block=32))] == [
        "csr", "bsr4", "bsr8", "bsr16", "bsr32"
    ]  # fmt: skip
    assert [form.name for form in candidates(sparse_matrix(64, 64, 0.05))] == ["csr"]
    assert [form.name for form in candidates(sparse_matrix(10, 64, 0.0))] == ["csr"]
    assert candidates(torch.ones(8, 8)) == []


SHAPES: list[tuple[int, ...]] = [(32,), (1, 32), (5, 32), (2, 3, 32), (0, 32)]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layer_is_the_same_function(form: Form, shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(32, 64, bias=bias).requires_grad_(False)
    layer.weight.data = sparse_matrix(64, 32, 0.2)
    x = torch.randn(shape)
    sparse = SparseLinear.of(layer, form)
    torch.testing.assert_close(sparse(x), layer(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(sparse.weight, layer.weight)


def test_input_may_lie_in_memory_in_any_way() -> None:
    layer = nn.Linear(32, 64).requires_grad_(False)
    layer.weight.data = sparse_matrix(64, 32, 0.2)
    x = torch.randn(32, 7, 3).permute(2, 1, 0)
    torch.testing.assert_close(SparseLinear.of(layer, Form())(x), layer(x), rtol=1e-5, atol=1e-5)


CONVOLUTIONS = {
    "one pixel": nn.Conv2d(16, 32, 1),
    "one pixel, stride": nn.Conv2d(16, 32, 1, stride=2, bias=False),
    "three by three": nn.Conv2d(16, 32, 3, padding=1),
    "odd": nn.Conv2d(16, 32, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 1)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("shape", [(1, 16, 9, 8), (3, 16, 9, 8), (16, 9, 8)])
def test_convolution_is_the_same_function(name: str, shape: tuple[int, ...]) -> None:
    layer = deepcopy(CONVOLUTIONS[name]).requires_grad_(False)
    layer.weight.data = sparse_matrix(32, layer.weight[0].numel(), 0.2).reshape(layer.weight.shape)
    x = torch.randn(shape)
    sparse = SparseConv2d.of(layer, Form())
    torch.testing.assert_close(sparse(x), layer(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(sparse.weight, layer.weight)


def test_empty_rows_and_a_matrix_of_nothing_but_zeros_are_no_matter() -> None:
    layer = nn.Linear(32, 64).requires_grad_(False)
    layer.weight.data.zero_()
    x = torch.randn(4, 32)
    assert torch.equal(SparseLinear.of(layer, Form())(x), layer.bias.expand(4, -1))
    layer.weight.data[5] = 1.0
    torch.testing.assert_close(SparseLinear.of(layer, Form())(x), layer(x))


def test_copies_other_types_and_loaded_numbers_are_followed() -> None:
    """The built matrix is no buffer: it must not stay behind when buffers change."""
    layer = nn.Linear(32, 64).requires_grad_(False)
    layer.weight.data = sparse_matrix(64, 32, 0.2)
    x = torch.randn(4, 32)
    sparse = SparseLinear.of(layer, Form())
    assert torch.equal(deepcopy(sparse)(x), sparse(x))
    torch.testing.assert_close(deepcopy(sparse).double()(x.double()), layer.double()(x.double()))
    twice = {
        name: 2 * value if name in ("values", "bias") else value
        for name, value in sparse.state_dict().items()
    }
    expected = 2 * sparse(x)
    sparse.load_state_dict(twice)
    torch.testing.assert_close(sparse(x), expected)
