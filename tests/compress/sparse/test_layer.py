"""Sparse layers compute what dense ones compute, and hold the same numbers."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from penjing.compress.sparse.form import BLOCKS, Form, candidates, decode, kept
from penjing.compress.sparse.layer import SparseConv2d, SparseLayer, SparseLinear
from penjing.errors import PenjingError
from tests.compress.sparse.models import sparse_matrix

FORMS = [Form(), *map(Form, BLOCKS)]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("share", [0.0, 0.03, 0.4, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encoded_and_decoded_is_the_same_bit_for_bit(form: Form, share: float, dtype: torch.dtype) -> None:
    dense = sparse_matrix(64, 96, share).to(dtype)
    bits = {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
    dense += 0.0  # what a mask leaves of a negative number is -0.0: see below
    assert torch.equal(decode(form.encode(dense)).view(bits), dense.view(bits))
    assert Form.read(form.name) == form


def test_zeros_that_are_not_stored_come_back_positive() -> None:
    """The one thing that is lost: -0.0 counts as zero."""
    dense = torch.tensor([[-0.0, 0.0], [-3.0, 2.0**-149]])
    assert decode(Form().encode(dense)).tolist() == [[0.0, 0.0], [-3.0, 2.0**-149]]
    assert not decode(Form().encode(dense))[0].signbit().any()


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


@given(
    st.integers(1, 12), st.integers(1, 12), st.lists(st.integers(0, 4), max_size=3), st.floats(0, 1),
    st.sampled_from([1, 4]), st.booleans(), st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 99),
)  # fmt: skip
def test_linear_layer_of_any_size_is_as_near_as_sums_in_another_order(
    outputs: int,
    inputs: int,
    batch: list[int],
    share: float,
    block: int,
    bias: bool,
    dtype: torch.dtype,
    seed: int,
) -> None:
    """The bound on what rounding does to a sum of products (Higham 2002, eq. 3.5), once for each order."""
    outputs, inputs = outputs * block, inputs * block
    weight = sparse_matrix(outputs, inputs, share, block=block, seed=seed).to(dtype)
    layer = nn.Linear(inputs, outputs, bias=bias, dtype=dtype).requires_grad_(False)
    layer.weight.data = weight
    x = torch.randn(*batch, inputs, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    found = SparseLinear.of(layer, Form(block))(x)
    added = np.zeros(outputs) if layer.bias is None else layer.bias.double().numpy()
    exact = np.einsum("...i,oi->...o", x.double().numpy(), weight.double().numpy()) + added
    size = np.einsum("...i,oi->...o", abs(x).double().numpy(), abs(weight).double().numpy()) + abs(added)
    bound = 2 * (inputs + 2) * torch.finfo(dtype).eps * size + 1e-300
    assert found.shape == (*batch, outputs)
    assert found.dtype == dtype
    assert (abs(found.double().numpy() - exact) <= bound).all()


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("count", [1, 3])
def test_outputs_lie_in_memory_as_those_of_a_dense_layer(name: str, count: int) -> None:
    """Code behind a layer may `view` what it gives."""
    convolution = deepcopy(CONVOLUTIONS[name]).requires_grad_(False)
    x = torch.randn(count, 16, 9, 8)
    assert SparseConv2d.of(convolution, Form())(x).stride() == convolution(x).stride()
    linear = nn.Linear(32, 64).requires_grad_(False)
    x = torch.randn(count, 5, 32)
    assert SparseLinear.of(linear, Form())(x).stride() == linear(x).stride()


@pytest.mark.parametrize("form", [Form(), Form(4)], ids=lambda form: form.name)
def test_what_is_not_inference_in_its_own_type_is_refused(form: Form) -> None:
    sparse = SparseLinear.of(nn.Linear(32, 64).requires_grad_(False), form)
    x = torch.randn(4, 32, requires_grad=True)
    with pytest.raises(PenjingError, match="inference") as caught:
        sparse(x)
    assert caught.value.code == "PJ803"
    with torch.no_grad():
        sparse(x)
    with pytest.raises(PenjingError, match="float64") as caught:
        sparse(x.detach().double())
    assert caught.value.code == "PJ803"
    with pytest.raises(PenjingError, match="autocast"), torch.autocast("cpu", dtype=torch.bfloat16):
        sparse(x.detach())


def exported_layers() -> dict[str, tuple[SparseLayer, torch.Tensor]]:
    linear = nn.Linear(32, 64).requires_grad_(False)
    linear.weight.data = sparse_matrix(64, 32, 0.3)
    bare = nn.Linear(32, 64, bias=False).requires_grad_(False)
    convolution = deepcopy(CONVOLUTIONS["odd"]).requires_grad_(False)
    return {
        "csr": (SparseLinear.of(linear, Form()), torch.randn(3, 5, 32)),
        "csr, by columns": (SparseLinear.of(linear, Form(), by_columns=True), torch.randn(3, 5, 32)),
        "csr, one row": (SparseLinear.of(linear, Form()), torch.randn(1, 32)),
        "bsr4, no bias": (SparseLinear.of(bare, Form(4)), torch.randn(3, 32)),
        "convolution": (SparseConv2d.of(convolution, Form()), torch.randn(2, 16, 9, 8)),
    }


@pytest.mark.parametrize("name", exported_layers())
def test_exported_program_is_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    layer, x = exported_layers()[name]
    torch.export.save(torch.export.export(layer.eval(), (x,), strict=False), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.equal(program(x), layer(x))
    assert program(x).stride() == layer(x).stride()


def test_exported_program_holds_for_other_batches() -> None:
    layer, x = exported_layers()["csr"]
    batch = torch.export.Dim("batch")
    program = torch.export.export(layer, (x,), strict=False, dynamic_shapes=({0: batch},)).module()
    assert torch.equal(program(x[:2]), layer(x[:2]))


def test_compiled_layer_is_the_same() -> None:
    layer, x = exported_layers()["csr"]
    with torch.no_grad():
        compiled = torch.compile(layer, backend="eager", fullgraph=True)(x)
    assert torch.equal(compiled, layer(x))
