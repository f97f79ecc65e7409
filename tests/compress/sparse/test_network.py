"""Whole models: sparse where it pays, as it was elsewhere, and never slower."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import penjing as pj
from penjing.compress.sparse import layer as layer_module
from penjing.compress.sparse import network as network_module
from penjing.compress.sparse import product
from penjing.compress.sparse.layer import SparseLayer
from penjing.compress.sparse.record import LayerRecord
from penjing.errors import PenjingError
from tests.compress.sparse.models import emptied


class Mixed(nn.Module):
    """A very sparse layer that is large, a dense one, a sparse one that is small."""

    def __init__(self) -> None:
        super().__init__()
        self.large = emptied(nn.Linear(1024, 1024), 0.99)
        self.dense = nn.Linear(1024, 64)
        self.small = emptied(nn.Linear(64, 8), 0.9)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.small(torch.relu(self.dense(torch.relu(self.large(x)))))}


@pytest.fixture(scope="module")
def found() -> tuple[nn.Module, Tensor, pj.compress.Sparse]:
    torch.manual_seed(0)
    model, x = Mixed(), torch.randn(32, 1024)
    return model, x, pj.to_sparse(model, x)


def lines(record: object) -> dict[str, LayerRecord]:
    return {layer.name: layer for layer in record.layers}  # type: ignore[attr-defined]


def test_only_what_pays_is_sparse(found: tuple[nn.Module, Tensor, pj.compress.Sparse]) -> None:
    model, x, sparse = found
    by_name = lines(sparse.record)
    assert by_name["large"].chosen == "csr"
    assert by_name["dense"].chosen is None
    assert "more than half" in by_name["dense"].reason
    assert sparse.record.sparse_ms < sparse.record.dense_ms
    assert sparse.record.bytes[1] < sparse.record.bytes[0]
    assert by_name["large"].inputs == ((32, 1024),)
    assert by_name["large"].sparsity == pytest.approx(0.99, abs=0.005)
    for name, line in by_name.items():
        assert isinstance(sparse.model.get_submodule(name), SparseLayer) == (line.chosen is not None)
    with torch.no_grad():
        torch.testing.assert_close(sparse.model(x)["out"], model.eval()(x)["out"], rtol=1e-4, atol=1e-5)
    assert 0 <= sparse.record.max_error < 1e-4


def test_model_that_was_given_is_as_it_was(found: tuple[nn.Module, Tensor, pj.compress.Sparse]) -> None:
    model, x, _ = found
    assert [type(one) for one in model.children()] == [nn.Linear] * 3
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pj.to_sparse(model, x[:2])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in model.modules())


def test_saved_and_loaded_is_the_same_bit_for_bit(
    found: tuple[nn.Module, Tensor, pj.compress.Sparse], tmp_path: Path
) -> None:
    _, x, sparse = found
    folder = sparse.save(tmp_path / "sparse")
    again = pj.load_sparse(folder, Mixed)
    with torch.no_grad():
        assert torch.equal(again(x)["out"], sparse.model(x)["out"])
    assert not again.training
    with pytest.raises(PenjingError, match="not empty") as caught:
        sparse.save(folder)
    assert caught.value.code == "PJ801"


def test_what_does_not_fit_is_refused(
    found: tuple[nn.Module, Tensor, pj.compress.Sparse], tmp_path: Path
) -> None:
    _, _, sparse = found
    folder = sparse.save(tmp_path / "sparse")
    for factory in (lambda: nn.Linear(3, 3), lambda: nn.ModuleDict({"large": nn.Linear(8, 8)})):
        with pytest.raises(PenjingError, match="can be loaded") as caught:
            pj.load_sparse(folder, factory)
        assert caught.value.code == "PJ801"
    (folder / "sparse.safetensors").write_bytes(b"no weights")
    with pytest.raises(PenjingError, match="can be loaded"):
        pj.load_sparse(folder, Mixed)
    with pytest.raises(PenjingError, match="can be loaded"):
        pj.load_sparse(tmp_path / "nothing", Mixed)


def test_dense_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    sparse = pj.to_sparse(model, torch.randn(4, 64))
    assert sparse.record.chosen == {}
    assert sparse.record.sparse_ms == sparse.record.dense_ms
    assert sparse.record.max_error == 0.0
    assert not sparse.record.note


def test_layers_that_cannot_be_are_left_with_a_reason() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tied, self.other = emptied(nn.Linear(64, 64), 0.99), nn.Linear(64, 64)
            self.other.weight = self.tied.weight
            self.normed = parametrizations.weight_norm(emptied(nn.Linear(64, 64), 0.99))
            self.hooked = emptied(nn.Linear(64, 64), 0.99)
            self.hooked.register_forward_hook(lambda module, args, out: out)
            self.never = emptied(nn.Linear(64, 64), 0.99)
            self.attention = nn.MultiheadAttention(64, 2, batch_first=True)
            emptied(self.attention.out_proj, 0.99)
            self.grouped = emptied(nn.Conv1d(1, 1, 1), 0.0)
            self.depthwise = emptied(nn.Conv2d(4, 4, 3, groups=4), 0.9)
            self.masked = prune.l1_unstructured(nn.Linear(64, 64), "weight", 0.99)
            self.replaced = emptied(nn.Linear(64, 64), 0.99)
            self.replaced.forward = lambda x: x + 1  # type: ignore[method-assign]
            self.read = emptied(nn.Linear(64, 64), 0.99)
            self.narrow = emptied(nn.Linear(64, 64), 0.99)

        def forward(self, x: Tensor) -> Tensor:
            y = self.other(self.tied(x)) + self.hooked(self.normed(x))
            y = nn.functional.linear(self.replaced(self.masked(y)), self.never.weight)
            y = self.read(y) + self.read.weight.sum()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = self.narrow(y).float()
            y = self.attention(y, y, y, need_weights=False)[0]
            return self.depthwise(y.reshape(-1, 4, 8, 8)).flatten(1)

    by_name = lines(pj.to_sparse(Odd(), torch.randn(2, 4, 64)).record)
    words = {
        "tied": "another layer", "other": "another layer", "normed": "parametrization", "hooked": "hooks",
        "never": "not called by itself", "attention.out_proj": "NonDynamicallyQuantizableLinear",
        "depthwise": "grouped", "masked": "prune.remove", "replaced": "forward", "read": "outside of it",
        "narrow": "autocast",
    }  # fmt: skip
    for name, word in words.items():
        assert by_name[name].chosen is None
        assert word in by_name[name].reason, name


def test_whole_that_is_no_quicker_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that only seems to pay: what counts is the model."""

    def hopeful(name: str, layer: nn.Module, *given: object, **named: object) -> LayerRecord:
        shape = (layer.weight.shape[0], layer.weight.shape[1])  # type: ignore[index, union-attr]
        return LayerRecord(name=name, shape=shape, sparsity=0.6, chosen="csr")  # type: ignore[arg-type]

    monkeypatch.setattr(network_module, "measured_layer", hopeful)
    model = nn.Sequential(emptied(nn.Linear(512, 512), 0.6))
    sparse = pj.to_sparse(model, torch.randn(196, 512))
    assert "nothing is changed" in sparse.record.note
    assert sparse.record.chosen == {}
    assert not any(isinstance(one, SparseLayer) for one in sparse.model.modules())


def test_layer_that_is_called_more_than_once_counts_all_its_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = emptied(nn.Linear(512, 512), 0.99)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x)[:, :4])

    (line,) = pj.to_sparse(Twice(), torch.randn(2, 32, 512)).record.layers
    assert line.inputs == ((2, 32, 512), (2, 4, 512))


def test_example_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PenjingError) as caught:
        pj.to_sparse(nn.Linear(8, 8), (torch.randn(1, 8), torch.randn(1, 8)))
    assert caught.value.code == "PJ101"


def test_error_of_a_sparse_layer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(matrix: Tensor, x: Tensor, bias: Tensor, **named: bool) -> Tensor:
        return product.linear(matrix, x, None, **named)  # without the bias

    monkeypatch.setattr(layer_module, "linear", wrong)
    torch.manual_seed(0)
    with pytest.raises(PenjingError, match="computes something else") as caught:
        pj.to_sparse(Mixed(), torch.randn(32, 1024))
    assert caught.value.code == "PJ802"


class Viewed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = emptied(nn.Linear(1024, 1024), 0.99)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).view(x.shape[0], -1)


def test_code_that_views_what_a_layer_gives_runs_on_any_batch() -> None:
    sparse = pj.to_sparse(Viewed(), torch.randn(1, 16, 1024))
    assert sparse.record.chosen == {"layer": "csr"}
    assert sparse.model(torch.randn(3, 16, 1024)).shape == (3, 16 * 1024)


def test_layers_that_pytorch_fuses_are_left_to_it() -> None:
    """In inference, an encoder layer hands its weights to one fused operator: none of its layers is called.

    With that turned off for a measurement, sparse layers pay; with it on, as in use, each call would have to
    make their weights dense first, and take several times as long.
    """
    encoder = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True).eval()
    emptied(encoder.linear1, 0.99)
    emptied(encoder.linear2, 0.99)
    before = torch.backends.mha.get_fastpath_enabled()
    by_name = lines(pj.to_sparse(encoder, torch.randn(1, 64, 128)).record)
    assert torch.backends.mha.get_fastpath_enabled() == before
    for name in ("linear1", "linear2"):
        assert by_name[name].chosen is None
        assert "fastpath" in by_name[name].reason


def test_result_asks_for_no_gradients(found: tuple[nn.Module, Tensor, pj.compress.Sparse]) -> None:
    model, x, sparse = found
    assert not any(one.requires_grad for one in sparse.model.parameters())
    assert all(one.requires_grad for one in model.parameters())
    assert not sparse.model(x)["out"].requires_grad


def test_form_without_a_kernel_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch without MKL has products of fewer forms, or of none."""

    def lacking(matrix: Tensor, x: Tensor, bias: Tensor, **named: bool) -> Tensor:
        if matrix.layout is torch.sparse_csr or matrix.values().shape[1] != 16:
            raise RuntimeError("addmm: computation on CPU is not implemented for this")
        return product.linear(matrix, x, bias, **named)

    monkeypatch.setattr(layer_module, "linear", lacking)
    layer = nn.Linear(1024, 1024)
    layer.weight.data.zero_()
    layer.weight.data[:16, :16] = 1.0
    (line,) = pj.to_sparse(layer, torch.randn(32, 1024)).record.layers
    assert set(line.forms_ms) == {"bsr16"}
    (line,) = pj.to_sparse(emptied(nn.Linear(100, 100), 0.99), torch.randn(32, 100)).record.layers
    assert line.chosen is None
    assert "not implemented for this" in line.reason


def test_a_write_that_fails_leaves_nothing(
    found: tuple[nn.Module, Tensor, pj.compress.Sparse], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, sparse = found

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("penjing.compress.sparse.files.save_file", full)
    with pytest.raises(PenjingError, match="No space") as caught:
        sparse.save(tmp_path / "below" / "sparse")
    assert caught.value.code == "PJ602"
    assert list(tmp_path.iterdir()) == []


def test_tied_weights_are_stored_once_and_loaded_tied(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(500, 512), nn.Linear(512, 500, bias=False)
            self.head.weight = self.table.weight
            self.middle = emptied(nn.Linear(512, 512), 0.99)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.middle(self.table(tokens)))

    tokens = torch.arange(64)[None]
    sparse = pj.to_sparse(Tied(), tokens)
    folder = sparse.save(tmp_path / "sparse")
    assert (folder / "sparse.safetensors").stat().st_size < 1.2 * 4 * 500 * 512
    again = pj.load_sparse(folder, Tied)
    assert again.head.weight is again.table.weight
    assert torch.equal(again(tokens), sparse.model(tokens))


def test_whole_artifact_runs_without_the_code_of_the_model(
    found: tuple[nn.Module, Tensor, pj.compress.Sparse], tmp_path: Path
) -> None:
    _, x, sparse = found
    sparse.export(tmp_path / "model.pt2")
    command = (
        "import sys, torch, penjing.compress\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "torch.set_num_threads(1)\n"
        "torch.save(program(torch.load(sys.argv[2]))['out'], sys.argv[3])"
    )
    torch.save(x, tmp_path / "x.pt")
    files = [str(tmp_path / name) for name in ("model.pt2", "x.pt", "y.pt")]
    subprocess.run([sys.executable, "-c", command, *files], check=True, capture_output=True)
    assert torch.equal(torch.load(tmp_path / "y.pt"), sparse.model(x)["out"])


def test_program_that_cannot_be_leaves_no_file(
    found: tuple[nn.Module, Tensor, pj.compress.Sparse], tmp_path: Path
) -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if x.sum() > 0 else x

    with pytest.raises(PenjingError) as caught:
        pj.to_sparse(Deciding(), torch.ones(1, 8)).export(tmp_path / "model.pt2")
    assert caught.value.code == "PJ402"
    with pytest.raises(PenjingError) as caught:
        found[2].export(tmp_path / "nowhere" / "model.pt2")
    assert caught.value.code == "PJ602"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threads", [0, -1])
def test_arguments_that_cannot_be_are_refused(threads: int) -> None:
    with pytest.raises(PenjingError) as caught:
        pj.to_sparse(nn.Linear(8, 8), torch.ones(1, 8), threads=threads)
    assert caught.value.code == "PJ406"
    with pytest.raises(PenjingError) as caught:
        pj.to_sparse("model.pt2", torch.ones(1, 8))  # type: ignore[arg-type]
    assert caught.value.code == "PJ105"
    with pytest.raises(PenjingError) as caught:
        pj.to_sparse(nn.Linear(8, 8), torch.ones(1, 9))
    assert caught.value.code == "PJ102"


def test_model_may_be_a_layer_itself(tmp_path: Path) -> None:
    layer, x = emptied(nn.Linear(1024, 1024), 0.99), torch.randn(32, 1024)
    sparse = pj.to_sparse(layer, x)
    assert sparse.record.chosen == {"": "csr"}
    assert isinstance(sparse.model, SparseLayer)
    again = pj.load_sparse(sparse.save(tmp_path / "sparse"), lambda: nn.Linear(1024, 1024))
    assert torch.equal(again(x), sparse.model(x))


def test_layer_in_two_places_is_replaced_in_both(tmp_path: Path) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = emptied(nn.Linear(1024, 1024), 0.99)
            self.blocks = nn.ModuleList([self.one, nn.ReLU()])

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[1](self.blocks[0](self.one(x)))

    x = torch.randn(32, 1024)
    sparse = pj.to_sparse(Shared(), x)
    assert sparse.record.chosen == {"one": "csr"}
    assert sparse.model.blocks[0] is sparse.model.one  # type: ignore[index]
    again = pj.load_sparse(sparse.save(tmp_path / "sparse"), Shared)
    assert again.blocks[0] is again.one
    assert torch.equal(again(x), sparse.model(x))


def test_outputs_in_a_narrower_type_may_be_rounded_otherwise() -> None:
    class Rounded(Mixed):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": super().forward(x)["out"].bfloat16()}

    sparse = pj.to_sparse(Rounded(), torch.randn(32, 1024))
    assert sparse.record.chosen["large"] == "csr"
    assert sparse.record.max_error < 0.02
